// The last lines of a log file, and what is appended to it. A new file takes the place of one that has become too large.
import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { StringDecoder } from 'node:string_decoder';
import { errnoOf, textOf } from '../../base/failure.ts';
import { sleep } from '../../base/async/sleep.ts';
import { fail } from '../../errors/fail.ts';

/** ms between two looks at the file. */
const LOOK_MS = 250;
/** Bytes of one read. */
const PIECE = 64 * 1024;
/** Bytes before the place that was read to, which are read again: they are others when the file was emptied and has grown past it. A line has its time. */
const TAIL = 256;

export class FollowedFile {
  readonly #path: string;
  readonly #show: (line: string) => void;
  readonly #onGap: () => void;
  /** Open between two looks, since a file that is gone gives its number to the next one. */
  #file: FileHandle | undefined;
  #ino = 0;
  #offset = 0;
  /** The bytes before `#offset`. */
  #tail: Buffer = Buffer.alloc(0);
  #held = '';
  #decoder = new StringDecoder('utf8');

  /** `onGap`: lines may be missing here, since the file was replaced more than once between two looks, removed or emptied. */
  constructor(options: {
    readonly path: string;
    readonly show: (line: string) => void;
    readonly onGap?: () => void;
  }) {
    this.#path = options.path;
    this.#show = options.show;
    this.#onGap = options.onGap ?? (() => undefined);
  }

  /** Shows the last `count` lines of the file and of the one before it. Rejects with `log_unreadable`. */
  async last(count: number): Promise<void> {
    const lines: string[] = [];
    for (const path of [`${this.#path}.1`, this.#path]) {
      try {
        const found = await stat(path);
        if (path === this.#path) {
          [this.#ino, this.#offset] = [found.ino, found.size];
          this.#tail = await tailOf(path, found.size);
        }
        if (found.size === 0) continue;
        const input = createReadStream(path, { encoding: 'utf8', end: found.size - 1 });
        for await (const line of createInterface({ input })) {
          lines.push(line);
          if (lines.length > count) lines.shift();
        }
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw fail('log_unreadable', { path, why: textOf(error) }, error);
      }
    }
    for (const line of lines) this.#show(line);
  }

  /** Shows what is appended after `last`, until `stop` aborts. Rejects with `log_unreadable`. */
  async follow(stop: AbortSignal): Promise<void> {
    try {
      while (!stop.aborted) {
        await this.#more();
        await sleep(LOOK_MS, stop).catch(() => undefined);
      }
    } catch (error) {
      throw fail('log_unreadable', { path: this.#path, why: textOf(error) }, error);
    } finally {
      await this.#file?.close();
      this.#file = undefined;
    }
  }

  async #more(): Promise<void> {
    this.#file ??= await this.#former();
    const found = await stat(this.#path).catch(() => undefined);
    if (found !== undefined && (found.ino !== this.#ino || found.size < this.#offset)) await this.#next();
    await this.#read();
  }

  /** The file that `last` has read, which may have got the name with `.1` since. */
  async #former(): Promise<FileHandle | undefined> {
    for (const path of [this.#path, `${this.#path}.1`]) {
      const file = await opened(path);
      if ((await file?.stat())?.ino === this.#ino) return file;
      await file?.close();
    }
    return undefined;
  }

  /** Goes on with the file that now has the path. */
  async #next(): Promise<void> {
    const next = await opened(this.#path);
    if (next === undefined) return;
    await this.#read();
    this.#endLine();
    const before = await stat(`${this.#path}.1`).catch(() => undefined);
    if (this.#ino !== 0 && before?.ino !== this.#ino) this.#onGap();
    await this.#file?.close();
    this.#file = next;
    this.#ino = (await next.stat()).ino;
    this.#begin();
  }

  /** A line of the former file that has no end is none of the next one's. */
  #endLine(): void {
    const held = this.#held + this.#decoder.end();
    this.#held = '';
    if (held !== '') this.#show(held);
  }

  #begin(): void {
    this.#offset = 0;
    this.#tail = Buffer.alloc(0);
  }

  async #read(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const buffer = Buffer.alloc(PIECE);
    for (;;) {
      const known = this.#tail.length;
      const { bytesRead } = await file.read(buffer, 0, PIECE, this.#offset - known);
      // It was emptied: the next look sees that.
      if (bytesRead < known) return;
      if (!buffer.subarray(0, known).equals(this.#tail)) {
        this.#endLine();
        this.#onGap();
        this.#begin();
        continue;
      }
      if (bytesRead === known) return;
      this.#offset += bytesRead - known;
      this.#tail = Buffer.from(buffer.subarray(Math.max(0, bytesRead - TAIL), bytesRead));
      const lines = (this.#held + this.#decoder.write(buffer.subarray(known, bytesRead))).split('\n');
      this.#held = lines.pop() ?? '';
      for (const line of lines) this.#show(line);
    }
  }
}

/** The last bytes before `offset`. */
async function tailOf(path: string, offset: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const length = Math.min(offset, TAIL);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Undefined while there is no such file. */
function opened(path: string): Promise<FileHandle | undefined> {
  return open(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
}
