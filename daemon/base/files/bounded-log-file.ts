// A log file of limited size: the file, and the one before it with `.1` at its end.
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../failure.ts';
import type { LogOutput } from '../lossy-log.ts';
import { makeFolderSync } from './make-folder.ts';
import { WholeLines } from './write-whole.ts';

/** Bytes after which the file is renamed to `.1` and a new one is started. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Appends to the file at `path`, which only this user can read. Its folder is made when it is missing. */
export function boundedLogFile(path: string): LogOutput {
  const whole = new WholeLines();
  return {
    final: new Set(),
    write: (lines, done) => {
      try {
        append(path, (fd) => {
          whole.write(fd, lines);
        });
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
        return;
      }
      done();
    },
  };
}

/** Makes its folder when that is missing, and starts a new file when it is too large. */
function append(path: string, write: (fd: number) => void): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_FILE_BYTES) renameSync(path, `${path}.1`);
  const fd = openPrivate(path, 'a');
  try {
    write(fd);
  } finally {
    closeSync(fd);
  }
}

/** Opens a file that only this user can read. Makes its folder when that is missing. */
export function openPrivate(path: string, flags: 'a' | 'w'): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    makeFolderSync(dirname(path));
    return openSync(path, flags, 0o600);
  }
}
