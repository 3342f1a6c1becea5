// When a command was started. The time of day may be set while it runs, as after the sleep of a machine.
import { monotonicMs } from '../../base/async/monotonic.ts';

export class RunTime {
  readonly #sinceMs = Date.now();
  readonly #since = monotonicMs();

  get elapsedMs(): number {
    return monotonicMs() - this.#since;
  }

  /**
   * Date.now() of the start, or an earlier one if the clock was set back since: what has happened later has no earlier time. A machine that sleeps
   * makes the elapsed time too short.
   */
  get sinceMs(): number {
    return Math.min(this.#sinceMs, Date.now() - this.elapsedMs);
  }
}
