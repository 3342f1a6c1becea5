// Finding something out again and again, one lookup at a time: what an older lookup found never replaces what a newer one found.
import type { Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { untilAborted } from '../../base/async/until-aborted.ts';
import type { Failure } from '../../base/failure.ts';
import { asFailure, fail } from '../../errors/fail.ts';

/** ms after which a lookup is given up when somebody asks again. It doubles with each one that is given up, so that a slow one ends at last. */
const PATIENCE_MS = 500;

export class Lookup<T> {
  readonly #clock: Clock;
  readonly #find: (signal: AbortSignal) => Promise<T>;
  readonly #refresh = new Refresh(() => this.#look());
  #running: { readonly since: number; readonly abort: AbortController } | undefined;
  #patience = PATIENCE_MS;
  /** Lookups that have begun, and the number of the last one that was not given up. */
  #begun = 0;
  #ended = 0;
  #isHalted = false;
  #found: T | undefined;
  #failure: Failure | undefined;

  constructor(clock: Clock, find: (signal: AbortSignal) => Promise<T>) {
    this.#clock = clock;
    this.#find = find;
  }

  /** What the last lookup found that did not fail. */
  get found(): T | undefined {
    return this.#found;
  }

  /** Why the last lookup failed; undefined when it did not. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Resolves when a lookup that began after this call has ended, well or not. Never rejects. */
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

  /** Ends the lookup that is under way; there is no further one. */
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
      // A lookup that was given up has found out nothing.
      if (abort.signal.aborted) return;
      this.#failure = asFailure(error);
    } finally {
      this.#running = undefined;
    }
    this.#ended = number;
    this.#patience = PATIENCE_MS;
  }
}
