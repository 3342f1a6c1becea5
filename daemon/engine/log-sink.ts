// Writes an engine's log. Lines are sent to control while it lives, else they are appended to a file of limited size. The engine
// cannot log to its stdout: control starts it without one.
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, type Failure } from '../base/failure.ts';
import { makeFolderSync } from '../base/files/make-folder.ts';
import { WholeLines } from '../base/files/write-whole.ts';
import type { LogSink } from '../base/log.ts';
import { LossyLog } from '../base/lossy-log.ts';
import { fail } from '../errors/fail.ts';
import type { ControlLink } from './control-link.ts';

/** Bytes after which the file is renamed to `.1` and a new one is started. An engine without control logs a line per ended stream. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Lines of these levels may wait for others. Warnings and errors are sent at once, since a crash may follow them. */
const ROUTINE = /^\{"level":"(trace|debug|info)"/;
/** Characters that may be on their way to control. Beyond that control does not read its channel, and lines go to the file. */
const MAX_UNDER_WAY = 1024 * 1024;
/** Routine lines are sent together after this many ms, or after `MAX_WAITING` characters: a message costs more than the line in it. */
const WAIT_MS = 20;
const MAX_WAITING = 16 * 1024;

export interface EngineSink extends LogSink {
  /** Sends or writes the lines that wait. */
  flush(): void;
  /** Why lines cannot be written to the file now, and how many are lost. */
  readonly problem: Failure | undefined;
}

export function engineSink(options: {
  readonly file: string;
  /** As in `makeLogger`. */
  readonly process: string;
  readonly control: Pick<ControlLink, 'tell' | 'flush'>;
}): EngineSink {
  let underWay = 0;
  let waiting = '';
  let timer: NodeJS.Timeout | undefined;
  /** True once control was gone. The channel does not open again, so every line is written at once: a waiting one could be lost. */
  let alone = false;
  const whole = new WholeLines();
  const file = new LossyLog({
    process: options.process,
    output: {
      final: new Set(),
      write: (lines, done) => {
        try {
          append(options.file, (fd) => {
            whole.write(fd, lines);
          });
        } catch (error) {
          done(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        done();
      },
    },
  });
  const toFile = (lines: string): void => {
    file.write(lines);
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
      if (options.control.tell({ type: 'log', line: lines }, sent)) return;
      underWay -= lines.length;
      alone = true;
    }
    toFile(lines);
  };
  return {
    flush,
    get problem() {
      return file.loss && fail('log_unwritable', file.loss);
    },
    write: (line) => {
      waiting += line;
      if (!ROUTINE.test(line)) {
        flush();
        options.control.flush();
      } else if (alone || waiting.length >= MAX_WAITING) flush();
      else timer ??= setTimeout(flush, WAIT_MS);
    },
  };
}

/** Appends to the file. Makes its folder when that is missing, and starts a new file when it is too large. */
function append(path: string, write: (fd: number) => void): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_FILE_BYTES) renameSync(path, `${path}.1`);
  const fd = openAppend(path);
  try {
    write(fd);
  } finally {
    closeSync(fd);
  }
}

function openAppend(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    makeFolderSync(dirname(path));
    return openSync(path, 'a', 0o600);
  }
}
