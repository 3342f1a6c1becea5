// The hello race: nothing on the wire says epoch or compression, so the candidates are tried side by side, each on a stream of its own;
// the first HelloNegotiated wins and the others are ended (design.md "First contact", spec/wire.md §4).
import type { Duplex } from 'node:stream';
import { inTime, type Deadline } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import { asFailure } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import { Attempt, type AttemptOptions } from './attempt.ts';
import { sameCandidate, type Candidate, type Stage } from './candidates.ts';
import type { Negotiated } from './handshake.ts';
import {
  epochMismatch,
  finalDetectionError,
  detectionError,
  type DetectionSubject,
} from './detection-error.ts';

export interface DetectionOptions extends Pick<AttemptOptions, 'open' | 'hello' | 'end'> {
  readonly stages: readonly Stage[];
  /** The only epoch that the caller speaks, if it says so. */
  readonly wanted: Epoch | undefined;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
  /** Told of each attempt that is given up: settles when what it held, or still gets, has been ended. */
  readonly givenUp: (ending: Promise<void>) => void;
  readonly subject: DetectionSubject;
}

export interface Detected {
  readonly stream: Duplex;
  readonly candidate: Candidate;
  readonly negotiated: Negotiated;
  /** ms from Hello to answer. */
  readonly elapsedMs: number;
}

/** ms that ended losers get to give their places back before the next candidate is tried alone. */
const SETTLE_MS = 300;
/** ms that the others get once a server has answered something else than a refusal of the contract: it may speak both epochs. */
const MOMENT_MS = 250;
/** ms beyond the budget: every step has the same deadline, and its own text for it. */
const SLACK_MS = 500;

/** Outcomes after which those that have to come come soon: all candidates meet the same server. */
const DEFINITE: ReadonlySet<string | undefined> = new Set(['ended', 'malformed']);

/** What is known so far: a winner, or a failure that counts from `at` (performance.now()) on, if nothing better has come until then. */
type Judgement = { readonly won: Detected } | { readonly failure: Failure; readonly at: number };

/** Runs the stages until one candidate is negotiated. Rejects with the failure that the user should read. */
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
  /** ms that the likeliest candidates get before they get company. A short budget must leave time for the rest. */
  readonly #hedgeMs: number;
  readonly #since = performance.now();

  constructor(options: DetectionOptions) {
    this.#options = options;
    this.#hedgeMs = Math.min(LIMITS.hedgeMs, options.deadline.budgetMs / 4);
  }

  async run(): Promise<Detected> {
    const { stages } = this.#options;
    for (const [index, stage] of stages.entries()) {
      const again = this.#attempts.filter((attempt) => attempt.doubtful).map(({ candidate }) => candidate);
      for (const candidate of [...again, ...stage]) this.#start(candidate);
      const won = await this.#settle(index < stages.length - 1 ? this.#hedgeMs : 'quiet');
      if (won !== undefined) return won;
    }
    return (await this.#oneByOne()) ?? this.#giveUp();
  }

  abandon(): void {
    for (const attempt of this.#attempts) this.#options.givenUp(attempt.abandon());
  }

  #start(candidate: Candidate): Attempt {
    const attempt = new Attempt({ ...this.#options, candidate });
    this.#attempts.push(attempt);
    return attempt;
  }

  /**
   * The server may be full, and wrong candidates may hold its last places: all are ended, then each is tried alone. A gateway that
   * compresses keeps the place of a Hello that does not until the server's handshake limit, however that stream is ended: when there was
   * silence, such a Hello is not said again before that has passed, unless there is no time for it.
   */
  async #oneByOne(): Promise<Detected | undefined> {
    if (this.#attempts.length < 2) return undefined;
    const plain = this.#attempts.filter(({ candidate }) => candidate.compression === 'none');
    const order = unique(this.#attempts.map(({ candidate }) => candidate));
    const sticky = plain.length > 0 && plain.length < this.#attempts.length;
    const silent = this.#attempts.some(({ outcome }) => outcome === undefined || outcome.type === 'silent');
    if (!sticky || !silent) return this.#each(order);
    const harmless = order.filter(({ compression }) => compression === 'zstd');
    const others = order.filter(({ compression }) => compression === 'none');
    const free = Math.max(...plain.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + SETTLE_MS;
    const { deadline, signal } = this.#options;
    const closed = this.#attempts.some((attempt) => attempt.outcome?.type === 'ended');
    const won = closed ? await this.#each(harmless, order.length) : undefined;
    if (won !== undefined) return won;
    const wait = free - performance.now();
    if (wait >= deadline.remaining()) return this.#each([...others, ...harmless]);
    const never = new Promise<never>(() => undefined);
    await inTime(never, Math.max(0, wait), () => new Error('now'), { signal }).catch(() => undefined);
    return this.#each([...harmless, ...others]);
  }

  /** Tries each alone. `later`: tries for which time must be left. */
  async #each(order: readonly Candidate[], later = 0): Promise<Detected | undefined> {
    for (const [index, candidate] of order.entries()) {
      await this.#endAll();
      const left = this.#options.deadline.remaining();
      if (left <= 0) break;
      this.#start(candidate);
      const won = await this.#settle(Math.min(this.#hedgeMs, left / (order.length - index + later)));
      if (won !== undefined) return won;
    }
    return undefined;
  }

  async #endAll(): Promise<void> {
    const ends = Promise.all(this.#attempts.map((attempt) => attempt.abandon()));
    const { deadline, signal } = this.#options;
    await inTime(ends, deadline.within(SETTLE_MS), () => new Error('late'), { signal }).catch(
      () => undefined,
    );
  }

  /**
   * Waits until one attempt has won, or all have failed, or the time is over: so many ms, or for `quiet` a while after the first failure
   * (those that have to come come soon after it), or a server's own handshake limit. Throws what must not be waited out.
   */
  async #settle(patience: number | 'quiet'): Promise<Detected | undefined> {
    const { deadline, signal } = this.#options;
    const end = performance.now() + deadline.remaining() + SLACK_MS;
    const since = performance.now();
    for (;;) {
      if (signal.aborted) throw asFailure(signal.reason);
      const judgement = this.#judge();
      if (judgement !== undefined && 'won' in judgement) return judgement.won;
      const pending = this.#attempts.filter((attempt) => attempt.pending);
      const now = performance.now();
      if (judgement !== undefined && (pending.length === 0 || now >= judgement.at)) throw judgement.failure;
      const failed = this.#attempts.filter(({ outcome }) => DEFINITE.has(outcome?.type));
      const first = Math.min(...failed.map(({ settledAt }) => settledAt));
      const quiet = Math.min(first + this.#hedgeMs, this.#silentUntil());
      const patient = patience === 'quiet' ? quiet : since + patience;
      const until = Math.min(end, patient, judgement?.at ?? Infinity);
      if (pending.length === 0 || now >= Math.min(end, patient)) return undefined;
      // A stream that is there ends the wait too: how long silence lasts counts from the last one.
      const any = Promise.race(pending.map(({ opened, settled, dialled }) => (opened ? settled : dialled)));
      await inTime(any, until - now, () => new Error('late'), { signal }).catch(() => undefined);
    }
  }

  /** When (performance.now()) a server that has said nothing will say nothing more. One candidate alone gets all the time there is. */
  #silentUntil(): number {
    const opened = this.#attempts.filter((attempt) => attempt.opened);
    if (this.#attempts.length < 2 || opened.length < this.#attempts.length) return Infinity;
    return Math.max(...opened.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + SETTLE_MS;
  }

  #judge(): Judgement | undefined {
    const { wanted, subject } = this.#options;
    const answered = this.#attempts.filter((attempt) => attempt.outcome !== undefined);
    for (const attempt of answered) {
      const { candidate, outcome, elapsedMs } = attempt;
      if (outcome?.type === 'negotiated' && (wanted ?? candidate.epoch) === candidate.epoch)
        return { won: { stream: attempt.take(), candidate, negotiated: outcome.negotiated, elapsedMs } };
    }
    let later: Judgement | undefined;
    for (const { candidate, outcome, settledAt } of answered) {
      const right = (wanted ?? candidate.epoch) === candidate.epoch;
      const at = settledAt + MOMENT_MS;
      switch (outcome?.type) {
        case 'unsaid':
          return { failure: outcome.failure, at: 0 };
        case 'unopened':
          // Nobody has come through, and all go to the same address: what struck this one strikes them all.
          if (!this.#attempts.some((attempt) => attempt.opened)) return { failure: outcome.failure, at: 0 };
          break;
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

function unique(candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(
    (candidate, index) => candidates.findIndex((other) => sameCandidate(candidate, other)) === index,
  );
}
