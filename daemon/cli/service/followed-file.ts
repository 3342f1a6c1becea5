// The last lines of a log file, and what is appended to it. A new file takes the place of one that has become too large.
import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { StringDecoder } from 'node:string_decoder';
import { errnoOf } from '../../base/failure.ts';
import { sleep } from '../../base/async/sleep.ts';

/** ms between two looks at the file. */
const LOOK_MS = 250;
/** Bytes of one read. */
const PIECE = 64 * 1024;

export class FollowedFile {
  readonly #path: string;
  readonly #show: (line: string) => void;
  #ino = 0;
  #offset = 0;
  #held = '';
  #decoder = new StringDecoder('utf8');

  constructor(options: { readonly path: string; readonly show: (line: string) => void }) {
    this.#path = options.path;
    this.#show = options.show;
  }

  /** Shows the last `count` lines of the file and of the one before it. */
  async last(count: number): Promise<void> {
    const lines: string[] = [];
    for (const path of [`${this.#path}.1`, this.#path]) {
      try {
        const found = await stat(path);
        if (path === this.#path) [this.#ino, this.#offset] = [found.ino, found.size];
        if (found.size === 0) continue;
        const input = createReadStream(path, { encoding: 'utf8', end: found.size - 1 });
        for await (const line of createInterface({ input })) {
          lines.push(line);
          if (lines.length > count) lines.shift();
        }
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
    }
    for (const line of lines) this.#show(line);
  }

  /** Shows what is appended after `last`, until `stop` aborts. */
  async follow(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await this.#more();
      await sleep(LOOK_MS, stop).catch(() => undefined);
    }
  }

  async #more(): Promise<void> {
    const file = await open(this.#path).catch(() => undefined);
    if (file === undefined) return;
    try {
      const { ino, size } = await file.stat();
      if (ino !== this.#ino || size < this.#offset) {
        await this.#restOfFormer();
        [this.#ino, this.#offset] = [ino, 0];
      }
      await this.#read(file);
    } finally {
      await file.close();
    }
  }

  /** What was appended to the file before it got the name with `.1`. */
  async #restOfFormer(): Promise<void> {
    const file = await open(`${this.#path}.1`).catch(() => undefined);
    if (file === undefined) return;
    try {
      if ((await file.stat()).ino === this.#ino) await this.#read(file);
    } finally {
      await file.close();
    }
  }

  async #read(file: FileHandle): Promise<void> {
    const buffer = Buffer.alloc(PIECE);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, PIECE, this.#offset);
      if (bytesRead === 0) return;
      this.#offset += bytesRead;
      const lines = (this.#held + this.#decoder.write(buffer.subarray(0, bytesRead))).split('\n');
      this.#held = lines.pop() ?? '';
      for (const line of lines) this.#show(line);
    }
  }
}
