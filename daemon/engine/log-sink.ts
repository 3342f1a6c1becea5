// Where an engine's log goes: through control while that lives, else to a bounded file. Its stdio belongs to nobody else.
import { appendFileSync, renameSync, statSync } from 'node:fs';
import type { LogSink } from '../base/log.ts';
import type { OneFromEngine } from '../wire/engine-messages.ts';

/** Beyond this the file becomes `.1` and a new one begins: an orphaned engine logs a line per ended stream. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Beginnings of lines that need not leave at once: what comes before a crash must. */
const ROUTINE = /^\{"level":"(trace|debug|info)"/;
/** Lines under way to control; beyond that control does not read, and the file takes them. */
const MAX_UNDER_WAY = 1000;

export function engineSink(options: {
  readonly file: string;
  readonly send: (message: OneFromEngine, sent: (error: Error | null) => void) => boolean;
  /** What was sent leaves now. */
  readonly flush: () => void;
}): LogSink {
  let underWay = 0;
  const toFile = (line: string): void => {
    try {
      const size = statSync(options.file, { throwIfNoEntry: false })?.size ?? 0;
      if (size > MAX_FILE_BYTES) renameSync(options.file, `${options.file}.1`);
      appendFileSync(options.file, line, { mode: 0o600 });
    } catch {
      // A log that cannot be written must not end streams.
    }
  };
  return {
    write: (line) => {
      if (underWay < MAX_UNDER_WAY) {
        underWay += 1;
        const sent = (error: Error | null): void => {
          underWay -= 1;
          if (error !== null) toFile(line);
        };
        if (options.send({ type: 'log', line }, sent)) {
          if (!ROUTINE.test(line)) options.flush();
          return;
        }
        underWay -= 1;
      }
      toFile(line);
    },
  };
}
