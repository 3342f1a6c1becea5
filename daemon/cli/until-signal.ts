// Ends the daemon on a signal, also during its start. A start may wait for seconds, or hang in a system call.
import { settledWithin } from '../base/async/deadline.ts';
import { ENDING } from '../base/process/signals.ts';

/** ms that a start may still take after a signal. Its longest own wait is the one for an engine that does not answer. */
const START_ENDS_MS = 2000;

export interface RunningDaemon {
  /** Ends it after a signal. */
  onTerm(signal: NodeJS.Signals): Promise<void>;
  /** Closes what was started. */
  close(): Promise<void>;
  /** Resolves when it has ended without a signal; rejects with the reason why it must end. */
  readonly stopped: Promise<void>;
}

/**
 * Calls `start`, waits for a signal or for `stopped`, and closes what was started. Rejects when `start` rejects.
 *
 * A signal during the start aborts the AbortSignal that `start` is given. A start that does not end within `startEndsMs` hangs in a system
 * call. `process.exit` would wait for that call, so the handlers are removed and the process sends the signal to itself.
 */
export async function untilSignal(
  start: (signal: AbortSignal) => Promise<RunningDaemon>,
  startEndsMs: number = START_ENDS_MS,
): Promise<void> {
  const ending = new AbortController();
  const signalled = new Promise<void>((resolve) => {
    ending.signal.addEventListener('abort', () => {
      resolve();
    });
  });
  let first: NodeJS.Signals | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    first ??= signal;
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
    try {
      await Promise.race([signalled, started.stopped]);
    } catch (error) {
      // What is broken may also keep it from closing.
      await settledWithin(started.close(), startEndsMs);
      throw error;
    }
    await (first === undefined ? started.close() : started.onTerm(first));
  } catch (error) {
    if (!ending.signal.aborted || error !== ending.signal.reason) throw error;
  } finally {
    for (const name of ENDING) process.off(name, onSignal);
  }
}
