// Waiting for work that cannot be stopped: the wait itself can.

/** Resolves and rejects as `work` does. Rejects with the reason of `signal` when that aborts before; `work` is not stopped. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    work
      .then(resolve, (error: unknown) => {
        reject(error instanceof Error ? error : new Error(String(error)));
      })
      .finally(() => {
        signal.removeEventListener('abort', onAbort);
      });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
