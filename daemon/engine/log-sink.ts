// Where an engine's log goes: through control while that lives, else to a bounded file. Its stdio belongs to nobody else.
import { appendFileSync, renameSync, statSync } from 'node:fs';
import type { LogSink } from '../base/log.ts';
import type { OneFromEngine } from '../engine-protocol/messages.ts';

/** Beyond this the file becomes `.1` and a new one begins: an orphaned engine logs a line per ended stream. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Beginnings of lines that need not leave at once: what comes before a crash must. */
const ROUTINE = /^\{"level":"(trace|debug|info)"/;
/** Characters under way to control; beyond that control does not read, and the file takes them. */
const MAX_UNDER_WAY = 1024 * 1024;
/** Routine lines leave together, since each message costs both processes more than its line: after so many ms, or so many characters. */
const WAIT_MS = 20;
const MAX_WAITING = 16 * 1024;

export interface EngineSink extends LogSink {
  /** Lines that wait leave now. */
  flush(): void;
}

export function engineSink(options: {
  readonly file: string;
  readonly send: (message: OneFromEngine, sent: (error: Error | null) => void) => boolean;
  /** What was sent leaves now. */
  readonly flush: () => void;
}): EngineSink {
  let underWay = 0;
  let waiting = '';
  let timer: NodeJS.Timeout | undefined;
  /** Nothing can be sent any more, and control does not come back: what is not written now may be lost with this process. */
  let alone = false;
  const toFile = (line: string): void => {
    try {
      const size = statSync(options.file, { throwIfNoEntry: false })?.size ?? 0;
      if (size > MAX_FILE_BYTES) renameSync(options.file, `${options.file}.1`);
      appendFileSync(options.file, line, { mode: 0o600 });
    } catch {
      // A log that cannot be written must not end streams.
    }
  };
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const lines = waiting;
    waiting = '';
    if (lines === '') return;
    if (underWay < MAX_UNDER_WAY) {
      underWay += lines.length;
      const sent = (error: Error | null): void => {
        underWay -= lines.length;
        if (error !== null) toFile(lines);
      };
      if (options.send({ type: 'log', line: lines }, sent)) return;
      underWay -= lines.length;
      alone = true;
    }
    toFile(lines);
  };
  return {
    flush,
    write: (line) => {
      waiting += line;
      if (!ROUTINE.test(line)) {
        flush();
        options.flush();
      } else if (alone || waiting.length >= MAX_WAITING) flush();
      else timer ??= setTimeout(flush, WAIT_MS);
    },
  };
}
