// Protocol detection. A server does not announce its epoch or compression, so the candidates are tried concurrently, each on a separate stream.
// The first stream with a HelloNegotiated is used, and the others are ended (docs/decisions/two-epochs.md).
import type { Duplex } from 'node:stream';
import { inTime, onSilence, type Deadline } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import { sleep } from '../base/async/sleep.ts';
import { asFailure } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { Route } from '../engine-protocol/plan.ts';
import { Attempt, type AttemptOptions } from './attempt.ts';
import { sameCandidate, type Candidate, type Stage } from './candidates.ts';
import type { Negotiated } from './handshake.ts';
import {
  epochMismatch,
  finalDetectionError,
  detectionError,
  type DetectionSubject,
} from './detection-error.ts';

export interface DetectionOptions extends Pick<AttemptOptions, 'opener' | 'greetings'> {
  readonly stages: readonly Stage[];
  /** The only epoch that the caller speaks; undefined when both are possible. */
  readonly wanted: Epoch | undefined;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
  readonly ends: AttemptOptions['ends'] & {
    /** Called for each abandoned attempt. `ending` resolves when its stream has been ended, also one that the dial still gives. */
    keep(ending: Promise<void>): void;
  };
  readonly subject: DetectionSubject;
}

export interface Detected {
  readonly stream: Duplex;
  readonly candidate: Candidate;
  readonly negotiated: Negotiated;
  /** ms from Hello to answer. */
  readonly elapsedMs: number;
  /** See `TransportStream`. */
  readonly hasMoved?: (() => boolean) | undefined;
  /** See `TransportStream`. */
  readonly pinned?: Route | undefined;
}

/** ms in which the server can free the connections of ended streams, before the next candidate is tried alone. */
const FREE_MS = 300;
/** ms to wait for the other candidates after an answer that does not refuse the contract, since the server may speak both epochs. */
const MOMENT_MS = 250;
/** ms to wait beyond the deadline. Each step has the same deadline, and its own error for it, which the user reads. */
const SLACK_MS = 500;

/** Outcomes after which the other outcomes are expected soon, since all candidates reach the same server. */
const DEFINITE: ReadonlySet<string | undefined> = new Set(['ended', 'malformed']);

/** The result so far: a detected protocol, or a failure that is final when no protocol is detected until `at` (performance.now()). */
type Judgement = { readonly won: Detected } | { readonly failure: Failure; readonly at: number };

/** Runs the stages until one candidate is negotiated. Rejects with the failure that the user reads. */
export async function detectProtocol(options: DetectionOptions): Promise<Detected> {
  const running = new ProtocolDetection(options);
  try {
    return await running.run();
  } finally {
    running.abandon();
  }
}

class ProtocolDetection {
  readonly #options: DetectionOptions;
  readonly #attempts: Attempt[] = [];
  /** ms after which the next stage starts beside the one before. It is shorter for a short budget, to leave time for all stages. */
  readonly #hedgeMs: number;
  readonly #since = performance.now();
  /** Ends the current wait. */
  #wake: (() => void) | undefined;

  constructor(options: DetectionOptions) {
    this.#options = options;
    this.#hedgeMs = Math.min(LIMITS.hedgeMs, options.deadline.budgetMs / 4);
  }

  async run(): Promise<Detected> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#wake?.();
    signal.addEventListener('abort', onAbort);
    try {
      return await this.#stages();
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #stages(): Promise<Detected> {
    const { stages } = this.#options;
    for (const [index, stage] of stages.entries()) {
      const again = this.#attempts.filter((attempt) => attempt.doubtful).map(({ candidate }) => candidate);
      for (const candidate of [...again, ...stage]) this.#start(candidate);
      const won = await this.#wait(index < stages.length - 1 ? this.#hedgeMs : 'quiet');
      if (won !== undefined) return won;
    }
    return (await this.#oneByOne()) ?? this.#giveUp();
  }

  abandon(): void {
    for (const attempt of this.#attempts) this.#options.ends.keep(attempt.abandon());
  }

  #start(candidate: Candidate): Attempt {
    const attempt = new Attempt({ ...this.#options, candidate, onChange: () => this.#wake?.() });
    this.#attempts.push(attempt);
    return attempt;
  }

  /**
   * The server may be full, and wrong candidates may hold its last connections. So all streams are ended, then each candidate is tried alone.
   * A gateway that compresses keeps the connection of a Hello without compression until the server's handshake limit, even when the stream has
   * ended. After silence such a Hello is sent again only when that limit has passed, unless the deadline is earlier.
   */
  async #oneByOne(): Promise<Detected | undefined> {
    // A server that is full answers nothing. What was answered to every candidate comes again.
    if (this.#attempts.length < 2 || this.#attempts.every(({ outcome }) => outcome?.type === 'malformed'))
      return undefined;
    const plain = this.#attempts.filter(({ candidate }) => candidate.compression === 'none');
    const order = unique(this.#attempts.map(({ candidate }) => candidate));
    const bothModes = plain.length > 0 && plain.length < this.#attempts.length;
    const silent = this.#attempts.some(({ outcome }) => outcome === undefined || outcome.type === 'silent');
    if (!bothModes || !silent) return this.#each(order);
    const withZstd = order.filter(({ compression }) => compression === 'zstd');
    const withoutZstd = order.filter(({ compression }) => compression === 'none');
    const free = Math.max(...plain.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + FREE_MS;
    const { deadline, signal } = this.#options;
    const closed = this.#attempts.some((attempt) => attempt.outcome?.type === 'ended');
    const won = closed ? await this.#each(withZstd, order.length) : undefined;
    if (won !== undefined) return won;
    const wait = free - performance.now();
    if (wait >= deadline.remaining()) return this.#each([...withoutZstd, ...withZstd]);
    await sleep(Math.max(0, wait), signal).catch(() => undefined);
    return this.#each([...withZstd, ...withoutZstd]);
  }

  /** Tries each candidate alone. `later`: the number of further tries for which time must be left. */
  async #each(order: readonly Candidate[], later = 0): Promise<Detected | undefined> {
    for (const [index, candidate] of order.entries()) {
      await this.#endAll();
      const left = this.#options.deadline.remaining();
      if (left <= 0) break;
      this.#start(candidate);
      const won = await this.#wait(Math.min(this.#hedgeMs, left / (order.length - index + later)));
      if (won !== undefined) return won;
    }
    return undefined;
  }

  async #endAll(): Promise<void> {
    const ends = Promise.all(this.#attempts.map((attempt) => attempt.abandon()));
    const { deadline, signal } = this.#options;
    await inTime(ends, deadline.within(FREE_MS), () => new Error('late'), { signal }).catch(() => undefined);
  }

  /**
   * Waits until one attempt is negotiated (the result), or all have failed or the time is over (undefined). The time is `patience` ms. For
   * `quiet` it ends a while after the first failure, since the others follow soon, or with the server's handshake limit. Throws a final failure.
   */
  async #wait(patience: number | 'quiet'): Promise<Detected | undefined> {
    const { deadline, signal } = this.#options;
    const end = performance.now() + deadline.remaining() + SLACK_MS;
    const since = performance.now();
    // True when the time of the last wait is over. A process that did not run has read first what has arrived meanwhile.
    let isLate = false;
    for (;;) {
      if (signal.aborted) throw asFailure(signal.reason);
      const judgement = this.#judge();
      if (judgement !== undefined && 'won' in judgement) return judgement.won;
      const pending = this.#attempts.filter((attempt) => attempt.pending);
      const now = performance.now();
      const isOver = (at: number): boolean => isLate && now >= at;
      if (judgement !== undefined && (pending.length === 0 || judgement.at === 0 || isOver(judgement.at)))
        throw judgement.failure;
      const failed = this.#attempts.filter(({ outcome }) => DEFINITE.has(outcome?.type));
      const first = Math.min(...failed.map(({ overAt }) => overAt));
      const quiet = Math.min(first + this.#hedgeMs, this.#silentUntil());
      const enough = patience === 'quiet' ? quiet : since + patience;
      const until = Math.min(end, enough, judgement?.at ?? Infinity);
      if (pending.length === 0 || isOver(Math.min(end, enough))) return undefined;
      // A stream that is opened ends the wait as well, since silence is measured from the last one.
      isLate = await this.#changed(until - now);
    }
  }

  /** Waits until an attempt has a stream or an outcome, the request is aborted, or `ms` have passed (true). */
  #changed(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const wake = (isLate: boolean): void => {
        stopWaiting();
        this.#wake = undefined;
        resolve(isLate);
      };
      const stopWaiting = onSilence(ms, () => {
        wake(true);
      });
      this.#wake = () => {
        wake(false);
      };
    });
  }

  /** When (performance.now()) a silent server has reached its handshake limit. Infinity for a single candidate, which gets all the time. */
  #silentUntil(): number {
    if (this.#attempts.length < 2 || this.#attempts.some(({ pending, opened }) => pending && !opened))
      return Infinity;
    return Math.max(...this.#attempts.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + FREE_MS;
  }

  #judge(): Judgement | undefined {
    const { wanted, subject } = this.#options;
    const answered = this.#attempts.filter((attempt) => attempt.outcome !== undefined);
    for (const attempt of answered) {
      const { candidate, outcome } = attempt;
      if (outcome?.type === 'negotiated' && (wanted ?? candidate.epoch) === candidate.epoch)
        return { won: wonBy(attempt, outcome.negotiated) };
    }
    let later: Judgement | undefined;
    for (const { candidate, outcome, overAt } of answered) {
      const right = (wanted ?? candidate.epoch) === candidate.epoch;
      const at = overAt + MOMENT_MS;
      switch (outcome?.type) {
        case 'no hello':
          return { failure: outcome.failure, at: 0 };
        case 'no stream':
          // When no attempt has a stream, all fail for the same reason, since they dial the same address.
          if (!this.#attempts.some((attempt) => attempt.opened)) return { failure: outcome.failure, at: 0 };
          break;
        // All candidates reach the same gateway or bridge, which refuses them all.
        case 'alert':
        case 'told':
          return { failure: detectionError(outcome, subject, this.#elapsed()), at: 0 };
        case 'incompatible':
          if (right) return { failure: detectionError(outcome, subject, this.#elapsed()), at: 0 };
          break;
        case 'negotiated':
          later ??= { failure: epochMismatch(wanted ?? candidate.epoch, candidate.epoch), at };
          break;
        case 'refused':
        case 'other version':
          later ??= { failure: detectionError(outcome, subject, this.#elapsed()), at };
          break;
        default:
      }
    }
    return later;
  }

  #giveUp(): never {
    const outcomes = this.#attempts.map(({ outcome }) => outcome);
    throw finalDetectionError(outcomes, this.#options.subject, this.#elapsed());
  }

  #elapsed(): number {
    return performance.now() - this.#since;
  }
}

function wonBy(attempt: Attempt, negotiated: Negotiated): Detected {
  const { candidate, elapsedMs } = attempt;
  const { stream, hasMoved, pinned } = attempt.take();
  return { stream, candidate, negotiated, elapsedMs, hasMoved, pinned };
}

function unique(candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(
    (candidate, index) => candidates.findIndex((other) => sameCandidate(candidate, other)) === index,
  );
}
