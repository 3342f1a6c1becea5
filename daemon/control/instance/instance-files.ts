// Keeps the files `instance.json`, which name the process of this daemon, and renews their time. A client to which the daemon does not answer
// tells the user from them which process hangs, and since when.
import { utimesSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { instanceFileOf, RENEWED_MS, type InstanceFile } from '../../api/instance-file.ts';
import { writeAtomic } from '../../base/files/atomic-file.ts';
import { ownIdentity } from '../../base/process/identity.ts';

/** ms between two renewals: the next look after that is at most 8 s later. */
const RENEW_MS = RENEWED_MS - 9000;

export class InstanceFiles {
  readonly #file: InstanceFile;
  #text: string;
  /** All that this daemon may have written: a full disk keeps the text of before. */
  readonly #texts = new Set<string>();
  readonly #paths: ReadonlySet<string>;
  #renewedAt = -Infinity;

  /** `sockets`: on which this daemon answers. */
  constructor(sockets: readonly string[]) {
    this.#file = { ...ownIdentity(), sockets };
    this.#text = this.#use(this.#file);
    this.#paths = new Set(sockets.map(instanceFileOf));
  }

  /** Writes the files when they are missing, else renews their time. Does nothing before `RENEW_MS` are over. Never rejects. */
  async renew(): Promise<void> {
    if (performance.now() - this.#renewedAt < RENEW_MS) return;
    this.#renewedAt = performance.now();
    const now = new Date();
    for (const path of this.#paths) {
      try {
        utimesSync(path, now, now);
      } catch {
        // Without the file, clients only cannot name the process.
        await writeAtomic(path, this.#text).catch(() => undefined);
      }
    }
  }

  /** Writes the files. Never rejects. */
  async begin(): Promise<void> {
    for (const path of this.#paths) await writeAtomic(path, this.#text).catch(() => undefined);
    this.#renewedAt = performance.now();
  }

  /** The files say from now on that this daemon stops, unless another daemon has replaced them. Never rejects. */
  async stopping(): Promise<void> {
    const ours = this.#text;
    this.#text = this.#use({ ...this.#file, stopping: true });
    for (const path of this.#paths) {
      const found = await readFile(path, 'utf8').catch(() => undefined);
      if (found === ours) await writeAtomic(path, this.#text).catch(() => undefined);
    }
  }

  /** Removes the files, unless another daemon has replaced them. Never rejects. */
  async end(): Promise<void> {
    for (const path of this.#paths) {
      const found = await readFile(path, 'utf8').catch(() => undefined);
      if (found !== undefined && this.#texts.has(found)) await unlink(path).catch(() => undefined);
    }
  }

  #use(file: InstanceFile): string {
    const text = `${JSON.stringify(file)}\n`;
    this.#texts.add(text);
    return text;
  }
}
