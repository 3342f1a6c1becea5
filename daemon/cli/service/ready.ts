// How a daemon that `bmuxd start` has started says that it is ready: one message on the channel of its start.

const READY = 'ready';

/** Tells the process that started this daemon that it is ready. Does nothing when there is none, or when it has ended. */
export function tellStarter(): void {
  process.send?.(READY, undefined, undefined, () => undefined);
}

/** Whether `message` says that. */
export function isReady(message: unknown): boolean {
  return message === READY;
}
