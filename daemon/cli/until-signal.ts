// A daemon ends on SIGTERM and SIGINT, also in the middle of its start: a start may wait for seconds, and in a system call for ever.
import { settledWithin } from '../base/async/deadline.ts';

const ENDING = ['SIGTERM', 'SIGINT'] as const;
/** ms that a start which was told to end may still take: its longest wait of its own is that for an engine that does not answer. */
const START_ENDS_MS = 2000;

export interface Started {
  /** Closes what was started. */
  close(): Promise<void>;
  /** Resolves when it has ended by itself. */
  readonly stopped: Promise<void>;
}

/**
 * Starts something, and resolves when a signal, or it itself, has ended it. Rejects as `start` does.
 *
 * A signal during the start aborts the `signal` that `start` is given. A start that takes no notice for `startEndsMs` hangs in a system call.
 * Node's own exit waits for that call, so this process then ends by the signal, as a program without handlers does.
 */
export async function untilSignal(
  start: (signal: AbortSignal) => Promise<Started>,
  startEndsMs: number = START_ENDS_MS,
): Promise<void> {
  const ending = new AbortController();
  const signalled = new Promise<void>((resolve) => {
    ending.signal.addEventListener('abort', () => {
      resolve();
    });
  });
  const onSignal = (signal: NodeJS.Signals): void => {
    ending.abort(new Error(`${signal} during the start`));
    settledWithin(starting, startEndsMs).then(
      (settled) => {
        if (!settled) endBy(signal);
      },
      () => undefined,
    );
  };
  const endBy = (signal: NodeJS.Signals): void => {
    for (const name of ENDING) process.off(name, onSignal);
    process.kill(process.pid, signal);
  };
  for (const name of ENDING) process.on(name, onSignal);
  const starting = start(ending.signal);
  try {
    const started = await starting;
    await Promise.race([signalled, started.stopped]);
    await started.close();
  } catch (error) {
    if (!ending.signal.aborted || error !== ending.signal.reason) throw error;
  } finally {
    for (const name of ENDING) process.off(name, onSignal);
  }
}
