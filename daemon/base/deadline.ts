// One budget for a whole way, one abort for a whole request: every wait on something outside goes through here.

/** A point in time by which something must be done. `remaining()` is in milliseconds and never negative. */
export class Deadline {
  readonly #at: number;
  readonly budgetMs: number;

  constructor(budgetMs: number) {
    this.budgetMs = budgetMs;
    this.#at = performance.now() + budgetMs;
  }

  remaining(): number {
    return Math.max(0, this.#at - performance.now());
  }

  /** The earlier of this deadline and `ms` from now, as milliseconds. */
  within(ms: number): number {
    return Math.min(ms, this.remaining());
  }
}

/**
 * Waits for `work` at most `ms` milliseconds, or until `signal` aborts; then rejects with what `late()` makes (or the signal's reason).
 * `work` itself is not stopped: `abandon` is called with its result if it still succeeds, so that nothing is left open.
 */
export function inTime<T>(
  work: Promise<T>,
  ms: number,
  late: () => Error,
  options: { signal?: AbortSignal | undefined; abandon?: (result: T) => void } = {},
): Promise<T> {
  const { signal, abandon } = options;
  return new Promise<T>((resolve, reject) => {
    let settled = false;
    const settle = (end: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      end();
    };
    const timer = setTimeout(() => {
      settle(() => {
        reject(late());
      });
    }, ms);
    const onAbort = (): void => {
      settle(() => {
        reject(signal?.reason instanceof Error ? signal.reason : late());
      });
    };
    work.then(
      (value) => {
        if (settled) abandon?.(value);
        settle(() => {
          resolve(value);
        });
      },
      (error: unknown) => {
        settle(() => {
          reject(error instanceof Error ? error : new Error(String(error)));
        });
      },
    );
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
