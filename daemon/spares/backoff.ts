// How long to wait after failures before the next attempt.
import type { Clock } from '../base/async/clock.ts';

const FIRST_MS = 2000;
const MAX_MS = 30_000;

/** Twice as long after each failure in a row. */
export class Backoff {
  readonly #clock: Clock;
  #failures = 0;
  #until = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get waiting(): boolean {
    const left = this.#until - this.#clock.now();
    // Further away than the longest pause: the clock was set back.
    return left > 0 && left <= MAX_MS;
  }

  /** Failures at the same time, or during a pause, count as one. */
  failed(): void {
    if (this.waiting) return;
    this.#until = this.#clock.now() + Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(10, this.#failures));
    this.#failures += 1;
  }

  /** The next pause is short again; a pause that has begun goes on. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** There is no reason to wait any more. */
  reset(): void {
    this.#failures = 0;
    this.#until = -Infinity;
  }
}
