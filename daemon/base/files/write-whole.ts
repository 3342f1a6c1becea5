// Writes lines to a descriptor of a file, whole. A disk that becomes full may take a part of a line.
import { writeSync } from 'node:fs';
import { errnoOf } from '../failure.ts';

/** Writes lines to descriptors of one file. After a line that was cut by an error, the next one begins on a line of its own. */
export class WholeLines {
  #cut = false;

  /** Throws the system's error. A part of `text` may have been written then. */
  write(fd: number, text: string): void {
    const bytes = Buffer.from(this.#cut ? `\n${text}` : text);
    let written = 0;
    try {
      while (written < bytes.length) written += writeSome(fd, bytes, written);
      this.#cut = false;
    } catch (error) {
      if (written > 0) this.#cut = bytes[written - 1] !== 0x0a;
      throw error;
    }
  }
}

function writeSome(fd: number, bytes: Buffer, from: number): number {
  for (;;) {
    try {
      return writeSync(fd, bytes, from);
    } catch (error) {
      if (errnoOf(error) !== 'EINTR') throw error;
    }
  }
}
