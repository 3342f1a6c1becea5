// Dials that callers share. Callers that come at the same time wait for one dial; when it has become old, another is started beside it.
import { Deadline, inTime } from '../base/async/deadline.ts';
import type { Dialling } from '../transport/dialling.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * Makes a connection. It calls `through` when the host has answered, and never synchronously. `isPassed` is true when only those who wait
 * already may get the connection.
 */
export type Connect<T> = (dialling: Dialling, through: () => void, isPassed: () => boolean) => Promise<T>;

type Step = 'connecting' | 'authenticating';

/** It has a deadline of its own and goes on when its callers give up, even the last one. */
interface Dial<T> {
  readonly done: Promise<T>;
  readonly abort: AbortController;
  /** performance.now(). */
  readonly since: number;
  step: Step;
  /** Number of callers that wait for it. */
  waiting: number;
  /** See `pass`. */
  passed: boolean;
}

/** A dial was given up because another one to the same host has come through. */
class Overtaken extends Error {}

/** A dial was given up because it was passed and nobody waits for it. */
class Passed extends Error {}

/**
 * ms for which callers join a dial that has not come through. QUIC sends again after 1, 2, 4, 8 s (RFC 9002 §6.2.1). An old dial may notice late
 * that the path is back, while a new one comes through in a round trip.
 */
const JOINED_MS = 1000;
/** Dials of one key at once. */
const MAX_DIALS = 4;

export class Dials<T> {
  /** The oldest first. */
  readonly #dials = new Map<string, Set<Dial<T>>>();
  #closed: Error | undefined;

  /** Keys for which a dial is under way. */
  keys(): string[] {
    return [...this.#dials.keys()];
  }

  /** Waits for `join`; undefined when another dial has come through. `late` makes the failure of a caller whose time is over. */
  async wait(
    key: string,
    connect: Connect<T>,
    { deadline, signal }: Dialling,
    late: (step: Step) => Error,
  ): Promise<T | undefined> {
    const dial = this.join(key, connect);
    dial.waiting += 1;
    try {
      return await inTime(dial.done, deadline.remaining(), () => late(dial.step), { signal });
    } catch (error) {
      if (error instanceof Overtaken) return undefined;
      throw error;
    } finally {
      dial.waiting -= 1;
      giveUp(dial);
    }
  }

  /** Nobody joins the dials of these keys any more. Their connections are for those who wait already; without any the dials are aborted. */
  pass(isMeant: (key: string) => boolean): void {
    for (const [key, dials] of this.#dials) {
      if (!isMeant(key)) continue;
      for (const dial of dials) {
        dial.passed = true;
        giveUp(dial);
      }
    }
  }

  /** A dial that is under way, when it is young or has come through; else a new one beside it. */
  join(key: string, connect: Connect<T>): Dial<T> {
    const under = [...(this.#dials.get(key) ?? [])].filter(({ passed }) => !passed);
    const through = under.find(({ step }) => step === 'authenticating');
    if (through !== undefined) return through;
    const youngest = under.at(-1);
    if (youngest === undefined) return this.#dial(key, connect);
    const young = performance.now() - youngest.since < JOINED_MS;
    return young || under.length >= MAX_DIALS ? youngest : this.#dial(key, connect);
  }

  /** Aborts every dial, and those to come, with `why`; resolves when they are over. */
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
      // Nothing was sent on the others yet: no connection of the server is lost, and no person was asked to confirm a key.
      const others = dial.passed ? [] : [...dials];
      for (const other of others) if (other.step === 'connecting') other.abort.abort(new Overtaken());
    };
    const dialling: Dialling = { deadline: new Deadline(LIMITS.irohDialMs), signal: abort.signal };
    const done = connect(dialling, through, () => dial.passed).finally(() => {
      dials.delete(dial);
      if (dials.size === 0 && this.#dials.get(key) === dials) this.#dials.delete(key);
    });
    // There may be no caller left that handles the rejection.
    done.catch(ignore);
    const dial: Dial<T> = {
      done,
      abort,
      since: performance.now(),
      step: 'connecting',
      waiting: 0,
      passed: false,
    };
    dials.add(dial);
    return dial;
  }
}

function giveUp({ passed, waiting, abort }: Dial<unknown>): void {
  if (passed && waiting === 0) abort.abort(new Passed());
}

function ignore(): void {
  // The callers that wait for it get the rejection.
}
