// What an engine says when it is past logging: a crash of native code, an error at its start. Its stderr is a file, never a pipe of ours.
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolderSync } from '../../base/files/make-folder.ts';

/** Characters that are kept of them for the log. */
const SHOWN = 2000;

export class CapturedStderr {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Starts the file anew and lends its descriptor to `use`. Without a file it is `ignore`. */
  lend<T>(use: (stderr: number | 'ignore') => T): T {
    let fd: number;
    try {
      makeFolderSync(dirname(this.#path));
      const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND } = constants;
      fd = openSync(this.#path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
    } catch {
      // An engine that cannot say why it dies is better than none.
      return use('ignore');
    }
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** The end of what was said; empty when nothing was. */
  read(): string {
    try {
      return readFileSync(this.#path, 'utf8').trim().slice(-SHOWN);
    } catch {
      return '';
    }
  }
}
