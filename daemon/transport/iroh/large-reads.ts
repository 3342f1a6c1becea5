// Whose turn it is to read much from an iroh stream. The binding makes a number of each byte, which takes 2 to 4 ms for a piece [measured], and it
// delivers in one turn of the event loop all pieces that come meanwhile. Without turns, a few floods took that loop for a quarter of a second.

/** Bytes from which on a read is large: what comes next on its stream is likely to be so, too. */
export const LARGE_BYTES = 1024;
/** ms after which a read that has brought nothing yet leaves its turn to another one. */
const HOLD_MS = 20;

export class LargeReads {
  #isFree = true;
  /** One for each stream at most. */
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the caller's turn, with a function that ends it. The next caller's begins in a later turn of the event loop. */
  async next(): Promise<() => void> {
    if (this.#isFree) this.#isFree = false;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let isOver = false;
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(hold);
      if (this.#waiting.length === 0) this.#isFree = true;
      else
        setImmediate(() => {
          this.#pass();
        });
    };
    const hold = setTimeout(end, HOLD_MS);
    return end;
  }

  #pass(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isFree = true;
    else next();
  }
}

/** Of this process. */
export const LARGE_READS = new LargeReads();
