// What earlier daemons and forgotten contexts have put into the bmuxd dir: folders that nobody listens in, and links that lead nowhere.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TARGETS_FOLDER } from '../../api/target-socket-env.ts';
import type { Logger } from '../../base/log.ts';
import { asFailure } from '../../errors/fail.ts';
import { clearFolders, removeFolders, sweepFolders } from './folder.ts';

/** Folders that are kept of contexts which have no target sockets any more. */
const MAX_OLD_FOLDERS = 64;

export class OldFolders {
  readonly #dir: string;
  readonly #log: Logger;

  /** `dir`: the bmuxd dir. */
  constructor(options: { readonly dir: string; readonly log: Logger }) {
    this.#dir = options.dir;
    this.#log = options.log;
  }

  /** Removes what a daemon that was killed has not removed, in contexts that are still in use and in others. Never rejects. */
  async sweep(): Promise<void> {
    for (const parent of await this.#parents()) {
      await sweepFolders(parent).catch((error: unknown) => {
        this.#log.warn({ parent, err: asFailure(error).data }, 'sweeping target sockets');
      });
    }
  }

  /** Removes what any daemon has made here, for when no engine is there any more. Never rejects. */
  async clear(): Promise<void> {
    for (const parent of await this.#parents()) await clearFolders(parent);
  }

  /** The newest folders out of use are kept, with links that lead nowhere; the others are removed. */
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
