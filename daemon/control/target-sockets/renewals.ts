// Renewals that are under way: who asks a moment later shares the answer, and a lookup that hangs holds up nobody beyond that moment.

interface Renewal {
  readonly done: Promise<void>;
  /** performance.now(). */
  readonly since: number;
}

/** ms for which a renewal that is under way is shared. */
const SHARED_MS = 500;
/** Renewals of one key at once; whoever comes then shares the newest. */
const MAX_AT_ONCE = 4;

export class Renewals {
  /** The newest last. */
  readonly #under = new Map<string, readonly Renewal[]>();

  /** Runs `work`, or waits for what is under way; rejects as that does. */
  run(key: string, work: () => Promise<void>): Promise<void> {
    const under = this.#under.get(key) ?? [];
    const newest = under.at(-1);
    const shared =
      newest !== undefined && (performance.now() - newest.since < SHARED_MS || under.length >= MAX_AT_ONCE);
    if (shared) return newest.done;
    const renewal: Renewal = {
      since: performance.now(),
      done: work().finally(() => {
        const left = (this.#under.get(key) ?? []).filter((one) => one !== renewal);
        if (left.length > 0) this.#under.set(key, left);
        else this.#under.delete(key);
      }),
    };
    this.#under.set(key, [...under, renewal]);
    return renewal.done;
  }
}
