// The stderr of an engine, for what it cannot log: a crash of native code, or an error at its start. It is a file and not a pipe, because
// the engine outlives control.
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolderSync } from '../../base/files/make-folder.ts';

/** How many characters of the end of stderr are returned for the log. */
const SHOWN = 2000;

export class CapturedStderr {
  readonly #path: string;

  /** `stateDir`: the folder of the file. */
  constructor(stateDir: string) {
    this.#path = join(stateDir, 'engine.stderr');
  }

  /** Empties the file and passes its descriptor to `use`, then closes it. Passes `ignore` when the file cannot be opened. */
  lend<T>(use: (stderr: number | 'ignore') => T): T {
    let fd: number;
    try {
      makeFolderSync(dirname(this.#path));
      const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND } = constants;
      fd = openSync(this.#path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
    } catch {
      // The engine is started without the file: its streams matter more than its stderr.
      return use('ignore');
    }
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** The end of the file; empty when nothing was written, or when it cannot be read. */
  read(): string {
    try {
      return readFileSync(this.#path, 'utf8').trim().slice(-SHOWN);
    } catch {
      return '';
    }
  }
}
