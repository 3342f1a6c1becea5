// Concurrent callers share one run of the same work.

/** Calls with the same key that overlap share one run and its result. */
export class SingleFlight<K, T> {
  readonly #running = new Map<K, Promise<T>>();

  /** The result of the run of `key` that is under way, or of a new one. Rejects as `work` does. */
  run(key: K, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const run = work().finally(() => {
      if (this.#running.get(key) === run) this.#running.delete(key);
    });
    this.#running.set(key, run);
    return run;
  }

  /** Later calls share no run that is under way now. */
  forgetAll(): void {
    this.#running.clear();
  }
}

/**
 * Brings something up to date, one run at a time. All calls during a run share one more run after it, because the current run may have read
 * its input before the change.
 */
export class Refresh<T = void> {
  readonly #work: () => Promise<T>;
  #running: Promise<T> | undefined;
  #next: Promise<T> | undefined;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  /** Resolves with the result of a run that began after this call. Rejects as that run does. */
  request(): Promise<T> {
    // First: between the end of a run and the start of the next one nothing runs, and both would start.
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#start();
    this.#next = this.#running.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#next;
  }

  #startNext(): Promise<T> {
    this.#next = undefined;
    return this.#start();
  }

  #start(): Promise<T> {
    const run = this.#work().finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }
}
