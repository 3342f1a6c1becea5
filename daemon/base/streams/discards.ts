// Whose turn it is to read what nobody wants. Each stream alone takes little time, and many floods at once would take all of it.

/** ms between two turns, and how many streams go on at each. */
const TURN_MS = 5;
const AT_ONCE = 16;

class Discards {
  /** In the order in which they go on. */
  readonly #waiting = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;

  /** Calls `goOn` when it is its turn, unless the returned function was called before. */
  next(goOn: () => void): () => void {
    this.#waiting.add(goOn);
    this.#plan();
    return () => {
      this.#waiting.delete(goOn);
    };
  }

  #plan(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      for (const goOn of [...this.#waiting].slice(0, AT_ONCE)) {
        this.#waiting.delete(goOn);
        goOn();
      }
      this.#plan();
    }, TURN_MS);
  }
}

/** Of this process. */
export const DISCARDS = new Discards();
