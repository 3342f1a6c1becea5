// Repeats a lookup, one run at a time. So an older result never replaces a newer one.
import type { Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { untilAborted } from '../../base/async/until-aborted.ts';
import type { Failure } from '../../base/failure.ts';
import { asFailure, fail } from '../../errors/fail.ts';

/** ms after which a running lookup is given up when another one is requested. Doubles each time, so that a slow lookup can finish. */
const PATIENCE_MS = 500;

export class Lookup<T> {
  readonly #clock: Clock;
  readonly #find: (signal: AbortSignal) => Promise<T>;
  readonly #refresh = new Refresh(() => this.#look());
  #running: { readonly since: number; readonly abort: AbortController } | undefined;
  #patience = PATIENCE_MS;
  /** Number of lookups that have begun. */
  #begun = 0;
  /** Number of the last lookup that ended without being given up. */
  #ended = 0;
  #isHalted = false;
  #found: T | undefined;
  #failure: Failure | undefined;

  constructor(clock: Clock, find: (signal: AbortSignal) => Promise<T>) {
    this.#clock = clock;
    this.#find = find;
  }

  /** The result of the last successful lookup. */
  get found(): T | undefined {
    return this.#found;
  }

  /** Why the last lookup failed; undefined when it did not. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Resolves when a lookup that began after this call has succeeded or failed, or after `halt`. Never rejects. */
  async run(): Promise<void> {
    const running = this.#running;
    if (running !== undefined && this.#clock.now() - running.since >= this.#patience) {
      running.abort.abort(fail('out_of_time', { ms: this.#patience, step: 'looking up the target' }));
      this.#patience *= 2;
    }
    const before = this.#begun;
    do await this.#refresh.request();
    while (this.#ended <= before && !this.#isHalted);
  }

  /** Aborts the running lookup with `stopping`. No further one begins. */
  halt(): void {
    this.#isHalted = true;
    this.#running?.abort.abort(fail('stopping'));
  }

  async #look(): Promise<void> {
    if (this.#isHalted) return;
    this.#begun += 1;
    const number = this.#begun;
    const abort = new AbortController();
    this.#running = { since: this.#clock.now(), abort };
    try {
      this.#found = await untilAborted(this.#find(abort.signal), abort.signal);
      this.#failure = undefined;
    } catch (error) {
      // A lookup that was given up has no result.
      if (abort.signal.aborted) return;
      this.#failure = asFailure(error);
    } finally {
      this.#running = undefined;
    }
    this.#ended = number;
    this.#patience = PATIENCE_MS;
  }
}
