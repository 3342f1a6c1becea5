// The memory that all streams together may use for clients that do not read.

/**
 * Each stream may buffer as much as is free at that moment. So one stream gets half at most, and each further one a share of what is left:
 * many clients that do not read share the memory, and none finds it all taken.
 */
export class BufferBudget {
  readonly #total: () => number;
  #used = 0;
  /** Called when memory becomes free. */
  readonly #waiting = new Set<() => void>();
  #waking = false;

  /** `total`: bytes; it may change. */
  constructor(total: () => number) {
    this.#total = total;
  }

  /** Bytes in use. */
  get used(): number {
    return this.#used;
  }

  get free(): number {
    return this.#total() - this.#used;
  }

  /** A stream uses `bytes` more, or fewer when negative. */
  change(bytes: number): void {
    this.#used += bytes;
    if (bytes >= 0 || this.#waiting.size === 0 || this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      for (const wake of this.#waiting) wake();
    });
  }

  /** Calls `wake` whenever memory becomes free, until `forget`. */
  whenFree(wake: () => void): void {
    this.#waiting.add(wake);
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}
