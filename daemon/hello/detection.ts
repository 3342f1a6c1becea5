// Protocol detection: no byte of the server tells its epoch or compression, so the candidates are tried side by side, each on a stream of
// its own. The first HelloNegotiated wins, and the other streams are ended (docs/bmux-protocol.md, docs/decisions/two-epochs.md).
import type { Duplex } from 'node:stream';
import { inTime, type Deadline } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import { sleep } from '../base/async/sleep.ts';
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

export interface DetectionOptions extends Pick<AttemptOptions, 'opener' | 'greetings'> {
  readonly stages: readonly Stage[];
  /** The only epoch that the caller speaks, if it says so. */
  readonly wanted: Epoch | undefined;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
  readonly ends: AttemptOptions['ends'] & {
    /** Called for each attempt that is given up. `ending` resolves when the stream that it has, or still gets, has been ended. */
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
}

/** ms that the server gets to free the connections of ended streams before the next candidate is tried alone. */
const FREE_MS = 300;
/** ms that the other candidates get after an answer that is no refusal of the contract: the server may speak both epochs. */
const MOMENT_MS = 250;
/** ms beyond the budget: every step has the same deadline, and its own text for it. */
const SLACK_MS = 500;

/** Outcomes after which the other outcomes are expected soon: all candidates meet the same server. */
const DEFINITE: ReadonlySet<string | undefined> = new Set(['ended', 'malformed']);

/** The result so far: a winner, or a failure that is final at `at` (performance.now()) when nothing better has come until then. */
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
      const won = await this.#wait(index < stages.length - 1 ? this.#hedgeMs : 'quiet');
      if (won !== undefined) return won;
    }
    return (await this.#oneByOne()) ?? this.#giveUp();
  }

  abandon(): void {
    for (const attempt of this.#attempts) this.#options.ends.keep(attempt.abandon());
  }

  #start(candidate: Candidate): Attempt {
    const attempt = new Attempt({ ...this.#options, candidate });
    this.#attempts.push(attempt);
    return attempt;
  }

  /**
   * The server may be full, and wrong candidates may hold its last connections: all are ended, then each is tried alone. A gateway that
   * compresses keeps the connection of a plain Hello until the server's handshake limit, however that stream is ended. After silence such a
   * Hello is sent again only when that limit has passed, unless there is no time for it.
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
    const free = Math.max(...plain.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + FREE_MS;
    const { deadline, signal } = this.#options;
    const closed = this.#attempts.some((attempt) => attempt.outcome?.type === 'ended');
    const won = closed ? await this.#each(harmless, order.length) : undefined;
    if (won !== undefined) return won;
    const wait = free - performance.now();
    if (wait >= deadline.remaining()) return this.#each([...others, ...harmless]);
    await sleep(Math.max(0, wait), signal).catch(() => undefined);
    return this.#each([...harmless, ...others]);
  }

  /** Tries each alone. `later`: how many further tries the remaining time must be enough for. */
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
   * Waits until one attempt has won, or all have failed, or the time is over. The time is so many ms, or for `quiet` a while after the first
   * failure, since the others follow it soon, or the server's own handshake limit. Throws a failure that is final.
   */
  async #wait(patience: number | 'quiet'): Promise<Detected | undefined> {
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
      const first = Math.min(...failed.map(({ overAt }) => overAt));
      const quiet = Math.min(first + this.#hedgeMs, this.#silentUntil());
      const enough = patience === 'quiet' ? quiet : since + patience;
      const until = Math.min(end, enough, judgement?.at ?? Infinity);
      if (pending.length === 0 || now >= Math.min(end, enough)) return undefined;
      // A stream that opens ends the wait, too: how long silence lasts counts from the last one.
      const any = Promise.race(pending.map(({ opened, over, dialled }) => (opened ? over : dialled)));
      await inTime(any, until - now, () => new Error('late'), { signal }).catch(() => undefined);
    }
  }

  /** When (performance.now()) a silent server has reached its own limit. One candidate alone gets all the time there is. */
  #silentUntil(): number {
    if (this.#attempts.length < 2 || this.#attempts.some(({ pending, opened }) => pending && !opened))
      return Infinity;
    return Math.max(...this.#attempts.map(({ openedAt }) => openedAt)) + LIMITS.serverHelloMs + FREE_MS;
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
    for (const { candidate, outcome, overAt } of answered) {
      const right = (wanted ?? candidate.epoch) === candidate.epoch;
      const at = overAt + MOMENT_MS;
      switch (outcome?.type) {
        case 'unsaid':
          return { failure: outcome.failure, at: 0 };
        case 'unopened':
          // No attempt has a stream, and all dial the same address: they fail for the same reason.
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
