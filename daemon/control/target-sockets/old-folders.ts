// Cleans the bmuxd dir: removes folders and dangling links that earlier daemons and forgotten contexts have left there.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TARGETS_FOLDER } from '../../api/target-socket-env.ts';
import type { Logger } from '../../base/log.ts';
import { asFailure } from '../../errors/fail.ts';
import { clearFolders, removeFolders, sweepFolders } from './folder.ts';

/** How many folders of contexts without target sockets are kept. */
const MAX_OLD_FOLDERS = 64;

export class OldFolders {
  readonly #dir: string;
  readonly #log: Logger;

  /** `dir`: the bmuxd dir. */
  constructor(options: { readonly dir: string; readonly log: Logger }) {
    this.#dir = options.dir;
    this.#log = options.log;
  }

  /** Removes what a killed daemon has left, in the folders of all contexts. Never rejects. */
  async sweep(): Promise<void> {
    for (const parent of await this.#parents()) {
      await sweepFolders(parent).catch((error: unknown) => {
        this.#log.warn({ parent, err: asFailure(error).data }, 'sweeping target sockets');
      });
    }
  }

  /** Removes the target sockets of every daemon. May be called only when no engine is left. Never rejects. */
  async clear(): Promise<void> {
    for (const parent of await this.#parents()) await clearFolders(parent);
  }

  /** Keeps the newest `MAX_OLD_FOLDERS` unused folders, with their dangling links, and removes older ones. */
  async removeOldest(isUsed: (parent: string) => boolean): Promise<void> {
    const unused = (await this.#parents()).filter((parent) => !isUsed(parent));
    const parents = await Promise.all(
      unused.map(async (parent) => ({
        parent,
        mtimeMs: (await stat(parent).catch(() => undefined))?.mtimeMs ?? 0,
      })),
    );
    parents.sort((a, b) => b.mtimeMs - a.mtimeMs);
    for (const { parent } of parents.slice(MAX_OLD_FOLDERS)) if (!isUsed(parent)) await removeFolders(parent);
  }

  async #parents(): Promise<string[]> {
    const names = await readdir(this.#dir).catch((): string[] => []);
    return names.filter((name) => TARGETS_FOLDER.test(name)).map((name) => join(this.#dir, name));
  }
}
