// How long to wait after failures before the next attempt.
import { longestPause, pauseAfter, type Random } from '../base/async/backoff.ts';
import type { Clock } from '../base/async/clock.ts';

const PAUSES = { firstMs: 2000, lastMs: 30_000 } as const;

/** The pause after a failure. It doubles with each failure in a row, see `pauseAfter`. */
export class Backoff {
  readonly #clock: Clock;
  readonly #random: Random | undefined;
  #failures = 0;
  #until = -Infinity;

  constructor(clock: Clock, random?: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** True during a pause. */
  get waiting(): boolean {
    const left = this.#until - this.#clock.now();
    // When more than the longest pause is left, the clock was set back.
    return left > 0 && left <= longestPause(PAUSES);
  }

  /** Begins a pause. A failure during a pause is not counted. */
  failed(): void {
    if (this.waiting) return;
    this.#until = this.#clock.now() + pauseAfter(this.#failures, PAUSES, this.#random);
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
