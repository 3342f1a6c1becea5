// Limits how many requests wait at the same time, so that those for one key leave room for those of all others.

/** Most waiting requests of all servers together. */
export const MAX_WAITING = 4096;

export interface FairBoundOptions {
  /** Most requests of one key. */
  readonly perKey: () => number;
  /** Most requests of all keys together. */
  readonly total: number;
}

/**
 * A key may have as many requests as `perKey` allows, and not more than others could still come. So there is always room for a key that has
 * none: many keys at their limit share `total`, and none of them fills it.
 */
export class FairBound {
  readonly #options: FairBoundOptions;
  readonly #counts = new Map<string, number>();
  #taken = 0;

  constructor(options: FairBoundOptions) {
    this.#options = options;
  }

  /** Number of requests of `key`. */
  count(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** Whether `key` may have no further request now. */
  isFull(key: string): boolean {
    const { perKey, total } = this.#options;
    return this.count(key) >= Math.min(perKey(), total - this.#taken);
  }

  /** Counts a request of `key`; undefined when `key` may have no further one. The returned function ends it; more calls do nothing. */
  take(key: string): (() => void) | undefined {
    if (this.isFull(key)) return undefined;
    this.#counts.set(key, this.count(key) + 1);
    this.#taken += 1;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#taken -= 1;
      const left = this.count(key) - 1;
      if (left === 0) this.#counts.delete(key);
      else this.#counts.set(key, left);
    };
  }
}
