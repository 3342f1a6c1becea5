// The attempt with one candidate: opens a stream, sends the Hello on it, and keeps the stream only when the Hello was negotiated.
import type { Duplex } from 'node:stream';
import type { Deadline } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import { asFailure } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { Route } from '../engine-protocol/plan.ts';
import type { Candidate } from './candidates.ts';
import { handshake, type Handshake, type HelloOutcome } from './handshake.ts';
import type { Greeting } from './hello-cache.ts';

/** An end after so many ms comes from the handshake limit of the server, so it counts as silence (docs/bmux-protocol.md, Handshake limit). */
const LATE_MS = LIMITS.serverHelloMs - 1000;

/** Bytes that are read and dropped at the end of an attempt: nothing but an answer to a Hello can be honest. */
const MAX_DISCARDED_BYTES = 256 * 1024;

/** A connection that carries several streams. */
export interface ConnectionBelow {
  /** True when it has received nothing for so long since a stream was opened that a second stream should be tried. */
  readonly doubtful: boolean;
  /** True when a Hello was answered on it. Set here. */
  helloAnswered: boolean;
}

/** The stream of an attempt, as a transport has opened it. */
export interface AttemptStream {
  /** Authenticated, in the candidate's compression. */
  readonly stream: Duplex;
  readonly below?: ConnectionBelow;
  /** See `TransportStream`. */
  readonly hasMoved?: () => boolean;
  /** See `TransportStream`. */
  readonly pinned?: Route | undefined;
}

/** The result of one candidate. */
export type Outcome =
  | HelloOutcome
  /** No stream could be opened: unreachable, not trusted, not authorised. */
  | { readonly type: 'no stream'; readonly failure: Failure }
  /** No Hello could be sent: the caller has no principal. */
  | { readonly type: 'no hello'; readonly failure: Failure };

/** The Hello of each epoch, or why there is none. As in bmux, that failure is reported only when a stream is open. */
export type Greetings = Readonly<Record<Epoch, Greeting>> | { readonly failure: Failure };

export interface AttemptOptions {
  readonly candidate: Candidate;
  readonly opener: {
    open(candidate: Candidate, signal: AbortSignal): Promise<AttemptStream>;
  };
  readonly greetings: Greetings;
  /** The deadline of the whole request. */
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
  /** Called when the attempt has a stream, and when it has an outcome. */
  readonly onChange?: () => void;
  readonly ends: {
    /** Ends a stream gracefully, and drops what still comes; resolves when that is over, never rejects. */
    end(stream: Duplex, mostBytes: number): Promise<void>;
  };
}

/**
 * Lifecycle: opening -> waiting for the answer -> over (`outcome` is set) -> taken | released. A stream is ended when its Hello was not
 * negotiated, or when the caller does not take it. A dial is aborted only with the whole request, not when the attempt is abandoned. A gateway
 * that sees a TLS handshake cut may lose one of its server's connections (docs/bmux-protocol.md, Connection limit).
 */
export class Attempt {
  readonly candidate: Candidate;
  /** Resolves when the dial has succeeded or failed. Never rejects. */
  readonly dialled: Promise<void>;
  /** Resolves when `outcome` is set, or when the attempt was abandoned. Never rejects. */
  readonly over: Promise<void>;
  outcome: Outcome | undefined;
  /** ms from Hello to outcome. */
  elapsedMs = 0;
  /** performance.now() when the stream was opened. */
  openedAt = -Infinity;
  /** performance.now() when `outcome` was set. */
  overAt = Infinity;
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
    this.over = this.dialled.then(() => this.#greet());
  }

  /** True when a stream was opened. */
  get opened(): boolean {
    return this.#opened !== undefined;
  }

  get pending(): boolean {
    return this.outcome === undefined && !this.#abandoned;
  }

  /** True while it waits for an answer on a connection that may be dead. */
  get doubtful(): boolean {
    return this.pending && this.#opened?.below?.doubtful === true;
  }

  /** The stream of a negotiated Hello. The caller owns it from now on. */
  take(): AttemptStream {
    if (this.#opened === undefined) throw asFailure(new Error('there is no stream to take'));
    this.#taken = true;
    return this.#opened;
  }

  /** The result is no longer needed. Resolves when the stream has been ended, also one that the dial still gives. */
  async abandon(): Promise<void> {
    if (this.#taken) return;
    if (this.outcome === undefined) {
      this.#abandoned = true;
      this.#hello?.giveUp();
    }
    await this.over;
    await this.#release();
  }

  async #dial(): Promise<void> {
    const { candidate, opener, signal } = this.#options;
    try {
      this.#opened = await opener.open(candidate, signal);
      this.openedAt = performance.now();
      this.#options.onChange?.();
    } catch (error) {
      if (!signal.aborted) this.#finish({ type: 'no stream', failure: asFailure(error) });
    }
  }

  async #greet(): Promise<void> {
    if (this.#opened === undefined) return;
    const { candidate, greetings, deadline } = this.#options;
    if (this.#abandoned) {
      void this.#release();
      return;
    }
    if ('failure' in greetings) {
      this.#finish({ type: 'no hello', failure: greetings.failure });
      return;
    }
    const { epoch } = candidate;
    const since = performance.now();
    try {
      const hello = { epoch, ...greetings[epoch], timeoutMs: deadline.remaining() };
      this.#hello = handshake(this.#opened.stream, hello);
    } catch (error) {
      this.#finish({ type: 'no hello', failure: asFailure(error) });
      return;
    }
    const outcome = await this.#hello.outcome;
    if (outcome === undefined) {
      // The attempt was abandoned.
      void this.#release();
      return;
    }
    this.elapsedMs = performance.now() - since;
    const late = outcome.type === 'ended' && this.elapsedMs > LATE_MS;
    this.#finish(this.#seenBelow(late ? { type: 'silent' } : outcome));
  }

  /** Adds what is known of the connection below. */
  #seenBelow(outcome: HelloOutcome): HelloOutcome {
    const below = this.#opened?.below;
    if (below === undefined) return outcome;
    if (outcome.type === 'silent' || outcome.type === 'ended') {
      if (!below.helloAnswered) return outcome;
      return outcome.type === 'silent'
        ? { ...outcome, answeredBefore: true, doubtful: below.doubtful }
        : { ...outcome, answeredBefore: true };
    }
    below.helloAnswered ||= outcome.type === 'negotiated';
    return outcome;
  }

  #finish(outcome: Outcome): void {
    this.outcome = outcome;
    this.overAt = performance.now();
    if (outcome.type !== 'negotiated') void this.#release();
    this.#options.onChange?.();
  }

  #release(): Promise<void> {
    if (this.#opened === undefined || this.#taken) return Promise.resolve();
    this.#released ??= this.#options.ends.end(this.#opened.stream, MAX_DISCARDED_BYTES);
    return this.#released;
  }
}
