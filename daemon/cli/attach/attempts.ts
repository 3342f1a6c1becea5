// Tries something again and again until it succeeds, so that the success comes soon after it has become possible.
import type { Clock } from '../../base/async/clock.ts';

/** ms between two attempts. */
const EVERY_MS = 1000;

export interface AttemptsOptions<T> {
  readonly clock: Clock;
  readonly attempt: (signal: AbortSignal) => Promise<T>;
  /** Called with the failure of an attempt. */
  readonly onFailure: (error: unknown) => void;
  /** ms before the first attempt. */
  readonly delayMs: number;
}

/**
 * An attempt that began while its packets were dropped may hang long after they come through again: systems repeat them at growing
 * intervals. So a patient attempt, for slow paths, is accompanied by one that is replaced every second.
 */
export class Attempts<T> {
  /** Resolves with the first success; rejects when `end` is called. */
  readonly done: Promise<T>;
  readonly #options: AttemptsOptions<T>;
  #patient: AbortController | undefined;
  #brief: AbortController | undefined;
  #cancel: () => void;
  #isOver = false;
  #resolve: (value: T) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(options: AttemptsOptions<T>) {
    this.#options = options;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#cancel = options.clock.after(options.delayMs, this.now);
  }

  /** Begins an attempt without waiting for its time. */
  readonly now = (): void => {
    if (this.#isOver) return;
    this.#cancel();
    this.#cancel = this.#options.clock.after(EVERY_MS, this.now);
    if (this.#patient === undefined) {
      this.#patient = this.#begin();
      return;
    }
    this.#brief?.abort();
    this.#brief = this.#begin();
  };

  /** Ends all attempts; `done` rejects with `error`. */
  end(error: Error): void {
    if (this.#isOver) return;
    this.#close();
    this.#reject(error);
  }

  #begin(): AbortController {
    const abort = new AbortController();
    this.#options.attempt(abort.signal).then(
      (value) => {
        if (this.#isOver || abort.signal.aborted) return;
        if (this.#patient === abort) this.#patient = undefined;
        this.#close();
        this.#resolve(value);
      },
      (error: unknown) => {
        if (this.#patient === abort) this.#patient = undefined;
        if (!this.#isOver && !abort.signal.aborted) this.#options.onFailure(error);
      },
    );
    return abort;
  }

  #close(): void {
    this.#isOver = true;
    this.#cancel();
    this.#patient?.abort();
    this.#brief?.abort();
  }
}
