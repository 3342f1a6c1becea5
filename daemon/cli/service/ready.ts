// What a daemon that `bmuxd start` has started tells its start, on the channel between them: that it is ready, or why it has failed. Its stderr is
// a file, which takes nothing on a full disk.

const READY = 'ready';

interface Failed {
  readonly failed: string;
}

/** Tells the process that started this daemon. Does nothing when there is none, or when it has ended. Never rejects. */
function tell(message: typeof READY | Failed): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) resolve();
    else
      process.send(message, undefined, undefined, () => {
        resolve();
      });
  });
}

/** This daemon is ready. */
export function tellReady(): void {
  void tell(READY);
}

/** This daemon ends because of a failure with this text. */
export function tellFailed(text: string): Promise<void> {
  return tell({ failed: text });
}

/** Whether `message` is that of a daemon that is ready. */
export function isReady(message: unknown): boolean {
  return message === READY;
}

/** The text of a daemon that has failed. */
export function failedIn(message: unknown): string | undefined {
  const text = typeof message === 'object' && message !== null && 'failed' in message ? message.failed : '';
  return typeof text === 'string' && text !== '' ? text : undefined;
}
