// Long work in short slices, so that the event loop serves other streams in between.
import { nextTurn } from './turn.ts';

/** Longest slice, ms. The echo of another stream waits for one slice at most. */
const SLICE_MS = 4;

export class Slices {
  #since = performance.now();

  /** Lets the event loop turn when the present slice is over. Call it between two steps that are short themselves. */
  async next(): Promise<void> {
    if (performance.now() - this.#since < SLICE_MS) return;
    await nextTurn();
    this.#since = performance.now();
  }
}
