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

/** ms that a timer may be late on a busy machine; later than that, and this process did not run. */
const STALLED_MS = 100;
/** ms that are given once more then: what has been read may still be on its way through a decompressor. */
const AGAIN_MS = 1000;

/**
 * Calls `late` after `ms`, unless the returned function was called before. For a wait on what others say: a process that did not run for a
 * while (SIGSTOP, a blocked loop, a machine that slept) finds its timers due before it has read what was said meanwhile, so that is read first.
 */
export function onSilence(ms: number, late: () => void): () => void {
  let reading: NodeJS.Immediate | undefined;
  let timer: NodeJS.Timeout;
  const wait = (left: number, again: boolean): void => {
    const due = performance.now() + left;
    timer = setTimeout(() => {
      if (!again && performance.now() - due > STALLED_MS) wait(Math.min(ms, AGAIN_MS), true);
      else reading = setImmediate(late);
    }, left);
  };
  wait(ms, false);
  return () => {
    clearTimeout(timer);
    clearImmediate(reading);
  };
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
      stopWaiting();
      signal?.removeEventListener('abort', onAbort);
      end();
    };
    const stopWaiting = onSilence(ms, () => {
      settle(() => {
        reject(late());
      });
    });
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

/** Waits for `work` at most `ms`, whatever becomes of it. Resolves with whether it settled in time; never rejects. */
export async function settledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const late = new Error('late');
  try {
    await inTime(work, ms, () => late);
    return true;
  } catch (error) {
    return error !== late;
  }
}
