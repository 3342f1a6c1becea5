// How long to wait after failures before the next attempt.
import type { Clock } from '../base/async/clock.ts';

const FIRST_MS = 2000;
const MAX_MS = 30_000;

/** The pause after a failure. It doubles with each failure in a row, from FIRST_MS up to MAX_MS. */
export class Backoff {
  readonly #clock: Clock;
  #failures = 0;
  #until = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True during a pause. */
  get waiting(): boolean {
    const left = this.#until - this.#clock.now();
    // When more than the longest pause is left, the clock was set back.
    return left > 0 && left <= MAX_MS;
  }

  /** Begins a pause. A failure during a pause is not counted. */
  failed(): void {
    if (this.waiting) return;
    this.#until = this.#clock.now() + Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(10, this.#failures));
    this.#failures += 1;
  }

  /** The next pause is short again; a pause that has begun goes on. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** Ends the pause; the next one is short again. */
  reset(): void {
    this.#failures = 0;
    this.#until = -Infinity;
  }
}
