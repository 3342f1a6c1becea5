// Dials that callers share: callers at the same time wait for one dial. When it takes long, another dial is started beside it.
import { Deadline, inTime } from '../base/async/deadline.ts';
import type { Dialling } from '../transport/dialling.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * Makes a connection. It calls `through`, asynchronously, when the host has answered. `isPassed` is true when only callers that wait already may
 * get the connection.
 */
export type Connect<T> = (dialling: Dialling, through: () => void, isPassed: () => boolean) => Promise<T>;

export type Step = 'connecting' | 'authenticating';

/**
 * A dial has a separate deadline (LIMITS.irohDialMs), and goes on when the time of all callers is over. When the last caller has hung up before the
 * host has answered, it ends.
 */
interface Dial<T> {
  readonly done: Promise<T>;
  readonly abort: AbortController;
  /** performance.now() at the beginning. */
  readonly since: number;
  step: Step;
  /** Number of callers that wait for it. */
  waiting: number;
  /** See `pass`. */
  passed: boolean;
  /** True when it is wanted without a caller. */
  wanted: boolean;
}

/** The error of a dial that is aborted because another dial has reached the same host. */
class Overtaken extends Error {}

/** The error of a dial that is aborted because nobody waits for it: it was passed, or its callers have hung up. */
class Passed extends Error {}

/**
 * ms for which further callers wait for a dial that has not reached the host. QUIC sends again after 1, 2, 4, 8 s (RFC 9002 §6.2.1). So an old
 * dial may notice late that the network is back, while a new one reaches the host in one round trip.
 */
const JOINED_MS = 1000;
/** Dials of one key at once, at most. */
const MAX_DIALS = 4;

export class Dials<T> {
  /** By key; the oldest dial is the first. */
  readonly #dials = new Map<string, Set<Dial<T>>>();
  #closed: Error | undefined;

  /** Keys for which a dial is under way. */
  keys(): string[] {
    return [...this.#dials.keys()];
  }

  /** Waits for a dial as `join` gives it; undefined when another dial has reached the host. `late` makes the failure at the caller's deadline. `wanted`: the dial goes on when all callers have hung up. */
  async wait(
    key: string,
    connect: Connect<T>,
    { deadline, signal }: Dialling,
    late: (step: Step) => Error,
    wanted = false,
  ): Promise<T | undefined> {
    const dial = this.#join(key, connect);
    dial.wanted ||= wanted;
    dial.waiting += 1;
    try {
      return await inTime(dial.done, deadline.remaining(), () => late(dial.step), { signal });
    } catch (error) {
      if (error instanceof Overtaken) return undefined;
      throw error;
    } finally {
      dial.waiting -= 1;
      giveUp(dial, signal.aborted);
    }
  }

  /** No caller joins the dials of these keys any more. Callers that wait already get the connection; a dial without callers is aborted. */
  pass(isMeant: (key: string) => boolean): void {
    for (const [key, dials] of this.#dials) {
      if (!isMeant(key)) continue;
      for (const dial of dials) {
        dial.passed = true;
        giveUp(dial, false);
      }
    }
  }

  /** The same dial as for a caller, but it goes on without one. */
  join(key: string, connect: Connect<T>): Promise<T> {
    const dial = this.#join(key, connect);
    dial.wanted = true;
    return dial.done;
  }

  /** The dial that is under way, when it has reached the host or began a short time ago; otherwise a new one beside it. */
  #join(key: string, connect: Connect<T>): Dial<T> {
    const under = [...(this.#dials.get(key) ?? [])].filter(({ passed }) => !passed);
    const through = under.find(({ step }) => step === 'authenticating');
    if (through !== undefined) return through;
    const youngest = under.at(-1);
    if (youngest === undefined) return this.#dial(key, connect);
    const young = performance.now() - youngest.since < JOINED_MS;
    return young || under.length >= MAX_DIALS ? youngest : this.#dial(key, connect);
  }

  /** Aborts every dial, also later ones, with `why`. Resolves when they are over. */
  async close(why: Error): Promise<void> {
    this.#closed = why;
    const dials = [...this.#dials.values()].flatMap((those) => [...those]);
    for (const dial of dials) dial.abort.abort(why);
    await Promise.allSettled(dials.map(({ done }) => done));
  }

  #dial(key: string, connect: Connect<T>): Dial<T> {
    const abort = new AbortController();
    if (this.#closed !== undefined) abort.abort(this.#closed);
    const dials = this.#dials.get(key) ?? new Set<Dial<T>>();
    this.#dials.set(key, dials);
    const through = (): void => {
      dial.step = 'authenticating';
      // The other dials may be aborted: no stream was opened on them, so the server has no connection for them, and no person was asked for a key.
      const others = dial.passed ? [] : [...dials];
      for (const other of others) if (other.step === 'connecting') other.abort.abort(new Overtaken());
    };
    const dialling: Dialling = { deadline: new Deadline(LIMITS.irohDialMs), signal: abort.signal };
    const done = connect(dialling, through, () => dial.passed).finally(() => {
      dials.delete(dial);
      if (dials.size === 0 && this.#dials.get(key) === dials) this.#dials.delete(key);
    });
    // There may be no caller that handles the rejection.
    done.catch(ignore);
    const dial: Dial<T> = {
      done,
      abort,
      since: performance.now(),
      step: 'connecting',
      waiting: 0,
      passed: false,
      wanted: false,
    };
    dials.add(dial);
    return dial;
  }
}

/** `hungUp`: the last caller has left before its time was over. A signature that a person may be asked for is not wasted. */
function giveUp({ passed, waiting, wanted, step, abort }: Dial<unknown>, hungUp: boolean): void {
  const unwanted = passed || (hungUp && !wanted && step === 'connecting');
  if (unwanted && waiting === 0) abort.abort(new Passed());
}

function ignore(): void {
  // The callers that wait for the dial get the rejection.
}
