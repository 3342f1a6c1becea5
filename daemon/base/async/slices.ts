// Long work in short slices, so that the event loop serves other streams in between. All works of a process take turns.

/** Longest slice, ms. The echo of another stream waits for one slice at most. */
const SLICE_MS = 4;

/** Works whose slice is over, in the order in which they go on: one in each turn of the event loop. Its bound is that of what runs at once. */
const waiting: (() => void)[] = [];

/** When the last slice of any work has begun. */
let lastBegun = -Infinity;

function goOn(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(goOn);
}

/** One work. */
export class Slices {
  #since: number | undefined;

  /** Lets the event loop turn when the present slice is over. Call it between two steps that are short themselves. */
  async next(): Promise<void> {
    const now = performance.now();
    if (this.#since !== undefined && now - this.#since < SLICE_MS) return;
    // A work that begins while no other is in its slice does so at once.
    if (this.#since !== undefined || waiting.length > 0 || now - lastBegun < SLICE_MS) {
      await new Promise<void>((resolve) => {
        if (waiting.push(resolve) === 1) setImmediate(goOn);
      });
    }
    this.#since = lastBegun = performance.now();
  }
}
