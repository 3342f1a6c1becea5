// One candidate's attempt: open a stream, say Hello on it, and keep the stream only when the Hello was negotiated.
import type { Duplex } from 'node:stream';
import type { Failure } from '../base/failure.ts';
import { asFailure } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { Candidate } from './candidates.ts';
import { handshake, type Handshake, type HelloOptions, type HelloOutcome } from './handshake.ts';

/** An end after this many ms is the server's handshake limit striking: silence, seen late (spec/wire.md §4). */
const LATE_MS = LIMITS.serverHelloMs - 1000;

/** What a transport gave for an attempt. */
export interface AttemptStream {
  /** Authenticated, in the candidate's compression. */
  readonly stream: Duplex;
  /** True when nothing has come over the connection that carries the stream for so long that a fresh one should be tried beside it. */
  readonly doubtful?: () => boolean;
}

/** What became of one candidate. */
export type Outcome =
  | HelloOutcome
  /** No stream could be had: unreachable, not trusted, not authorised. */
  | { readonly type: 'unopened'; readonly failure: Failure }
  /** There is no Hello to say: the caller has no principal. */
  | { readonly type: 'unsaid'; readonly failure: Failure };

export interface AttemptOptions {
  readonly candidate: Candidate;
  readonly open: (candidate: Candidate, signal: AbortSignal) => Promise<AttemptStream>;
  readonly hello: (candidate: Candidate) => HelloOptions;
  /** Of the whole request. */
  readonly signal: AbortSignal;
  /** Ends a stream gracefully; resolves when that is over, never rejects. */
  readonly end: (stream: Duplex) => Promise<void>;
}

/**
 * Lifecycle: opening -> saying -> settled (`outcome` is there) -> taken | released. A stream whose Hello was not negotiated, or that
 * nobody takes, is ended. A dial is not cut when it is given up, only when the request itself is: a TLS handshake that is cut at the
 * wrong moment costs the server behind the gateway a place (spec/wire.md §6).
 */
export class Attempt {
  readonly candidate: Candidate;
  /** Resolves when there is a stream, or when there will be none; never rejects. */
  readonly dialled: Promise<void>;
  /** Resolves when `outcome` is there or the attempt was abandoned; never rejects. */
  readonly settled: Promise<void>;
  outcome: Outcome | undefined;
  /** ms from Hello to outcome. */
  elapsedMs = 0;
  /** performance.now() of the stream. */
  openedAt = -Infinity;
  /** performance.now() of the outcome. */
  settledAt = Infinity;
  readonly #options: AttemptOptions;
  #abandoned = false;
  #hello: Handshake | undefined;
  #opened: AttemptStream | undefined;
  #taken = false;
  #released: Promise<void> | undefined;

  constructor(options: AttemptOptions) {
    this.candidate = options.candidate;
    this.#options = options;
    this.dialled = this.#dial();
    this.settled = this.dialled.then(() => this.#greet());
  }

  /** Whether it got as far as a stream. */
  get opened(): boolean {
    return this.#opened !== undefined;
  }

  get pending(): boolean {
    return this.outcome === undefined && !this.#abandoned;
  }

  /** Waits on a connection that may be dead. */
  get doubtful(): boolean {
    return this.pending && this.#opened?.doubtful?.() === true;
  }

  /** The stream of a negotiated Hello: the caller's from now on. */
  take(): Duplex {
    if (this.#opened === undefined) throw asFailure(new Error('there is no stream to take'));
    this.#taken = true;
    return this.#opened.stream;
  }

  /** Nobody waits for it any more. Resolves when what it held, or still gets, has been ended. */
  async abandon(): Promise<void> {
    if (this.#taken) return;
    if (this.outcome === undefined) {
      this.#abandoned = true;
      this.#hello?.giveUp();
    }
    await this.settled;
    await this.#release();
  }

  async #dial(): Promise<void> {
    const { candidate, open, signal } = this.#options;
    try {
      this.#opened = await open(candidate, signal);
      this.openedAt = performance.now();
    } catch (error) {
      if (!signal.aborted) this.#settle({ type: 'unopened', failure: asFailure(error) });
    }
  }

  async #greet(): Promise<void> {
    if (this.#opened === undefined) return;
    const { candidate, hello } = this.#options;
    if (this.#abandoned) {
      void this.#release();
      return;
    }
    const since = performance.now();
    try {
      this.#hello = handshake(this.#opened.stream, hello(candidate));
    } catch (error) {
      this.#settle({ type: 'unsaid', failure: asFailure(error) });
      return;
    }
    const outcome = await this.#hello.outcome;
    if (outcome === undefined) {
      // Given up: nobody asks for it.
      void this.#release();
      return;
    }
    this.elapsedMs = performance.now() - since;
    const late = outcome.type === 'ended' && this.elapsedMs > LATE_MS;
    this.#settle(late ? { type: 'silent' } : outcome);
  }

  #settle(outcome: Outcome): void {
    this.outcome = outcome;
    this.settledAt = performance.now();
    if (outcome.type !== 'negotiated') void this.#release();
  }

  #release(): Promise<void> {
    if (this.#opened === undefined || this.#taken) return Promise.resolve();
    this.#released ??= this.#options.end(this.#opened.stream);
    return this.#released;
  }
}
