// The sockets of all engines of this user: `engines/{generation}.sock`.
import { stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { namesIn } from '../../../base/files/names-in.ts';
import { LIMITS } from '../../../base/limits.ts';
import { isListening } from '../../../sockets/bind.ts';

/** Values of two digits of base 36. */
const TWO_DIGITS = 36 ** 2;
/** An id: eight digits of the time, which are enough until 2059, and two of the pid. */
const WHOLE_ID = /^[a-z0-9]{10}$/;

export class EngineSocketFiles {
  readonly #dir: string;
  /** The id that `next` has made last. */
  #made: readonly string[] = [];
  /** As they were read last. They count while the folder cannot be read, since this process has no more descriptors. */
  #generations: readonly string[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Generations of the engines that have a socket, the oldest first. */
  list(): readonly string[] {
    const names = namesIn(this.#dir);
    if (names !== undefined)
      this.#generations = names
        .filter((name) => /^[a-z0-9]+\.sock$/.test(name))
        .map((name) => name.slice(0, -'.sock'.length))
        .sort();
    return this.#generations;
  }

  /**
   * The id of an engine that starts now: the time in ms, and two digits of the pid, since several daemons may start at once. Ids sort by age. The
   * clock may have been set back, so the time in the id is later than that of every engine that is there.
   */
  next(now: number): string {
    const known = [...this.list(), ...this.#made].filter((id) => WHOLE_ID.test(id));
    const ms = Math.max(now, ...known.map((id) => Number.parseInt(id.slice(0, -2), 36) + 1));
    const id = `${ms.toString(36)}${(process.pid % TWO_DIGITS).toString(36).padStart(2, '0')}`;
    this.#made = [id];
    return id;
  }

  path(generation: string): string {
    return join(this.#dir, `${generation}.sock`);
  }

  /** Removes the socket if it is known that no process listens there, after `onDead`. Resolves with whether it is. Never rejects. */
  async removeDead(generation: string, onDead: () => void, timeoutMs: number): Promise<boolean> {
    if (await isListening(this.path(generation), timeoutMs)) return false;
    onDead();
    await unlink(this.path(generation)).catch(() => undefined);
    return true;
  }

  /** Removes what engines have left long ago, for `EngineDirectory.endOf`. */
  async removeOldEnds(): Promise<void> {
    for (const name of namesIn(this.#dir) ?? []) {
      const path = join(this.#dir, name);
      if (!name.endsWith('.ends')) continue;
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && Date.now() - found.mtimeMs > LIMITS.endsKeptMs)
        await unlink(path).catch(() => undefined);
    }
  }
}
