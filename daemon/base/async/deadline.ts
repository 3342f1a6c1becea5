// Deadlines and timeouts: every wait for another process, a file or the network uses them.
import { monotonicMs } from './monotonic.ts';

/** A point in time by which something must be done. `remaining()` is in milliseconds and never negative. */
export class Deadline {
  readonly #at: number;
  readonly budgetMs: number;

  constructor(budgetMs: number) {
    this.budgetMs = budgetMs;
    this.#at = monotonicMs() + budgetMs;
  }

  remaining(): number {
    return Math.max(0, this.#at - monotonicMs());
  }

  /** The earlier of this deadline and `ms` from now, as milliseconds. */
  within(ms: number): number {
    return Math.min(ms, this.remaining());
  }
}

/** ms that a timer may be late on a busy machine. When it is later, this process did not run for a while. */
const STALLED_MS = 100;
/** ms that are added once in this case: received bytes may still be in a decompressor. */
const AGAIN_MS = 1000;

/**
 * Calls `late` after `ms`, unless the returned function was called before. For timeouts of a peer. A process that did not run for a while
 * (SIGSTOP, a blocked loop, a machine that slept) finds its timers due before it has read newly arrived data. So it reads first.
 */
export function onSilence(ms: number, late: () => void): () => void {
  let reading: NodeJS.Immediate | undefined;
  let timer: NodeJS.Timeout;
  const wait = (left: number, again: boolean): void => {
    const due = monotonicMs() + left;
    timer = setTimeout(() => {
      if (!again && monotonicMs() - due > STALLED_MS) wait(Math.min(ms, AGAIN_MS), true);
      else reading = setImmediate(late);
    }, left);
  };
  // Node warns of a negative time.
  wait(Math.max(0, ms), false);
  return () => {
    clearTimeout(timer);
    clearImmediate(reading);
  };
}

/**
 * Waits for `work` at most `ms` milliseconds, or until `signal` aborts; then rejects with the error of `late()` or the signal's reason.
 * `work` itself is not stopped: if it succeeds later, `abandon` gets its result, so that nothing is left open.
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

/** Waits at most `ms` for `work` to settle. Resolves with whether it settled in time; never rejects. */
export async function settledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const late = new Error('late');
  try {
    await inTime(work, ms, () => late);
    return true;
  } catch (error) {
    return error !== late;
  }
}
