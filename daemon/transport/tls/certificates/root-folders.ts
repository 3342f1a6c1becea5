// Tells whether a file in the directories of roots has been written since they were read. To look at hundreds of files takes milliseconds, which
// no connection should wait for: the kernel tells of changes, and a look in the background finds those of which it does not.
import { readlinkSync, watch, type FSWatcher } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Refresh } from '../../../base/async/single-flight.ts';
import { Slices } from '../../../base/async/slices.ts';
import { isOnLocalDisk } from '../../../base/files/local-disk.ts';
import { asRead } from '../../../base/files/stamp.ts';
import { fileStamps, type Origin } from './root-files.ts';

/** Files that are looked at for each connection: one takes 10 µs. Beyond it, folders are watched. */
const QUICK_FILES = 32;
/** Folders that are watched: a link of each directory may lead to another one. */
const FOLDERS_MAX = 64;
/**
 * Minimum time between two looks in the background, ms: where the kernel may tell of nothing, where all folders are watched, and in durations of
 * the last look, since a directory may hold thousands. A look allocates so much that it is most of what an idle engine costs.
 */
const LOOK_AGE_MS = 1000;
const WATCHED_LOOK_AGE_MS = 60_000;
const LOOK_AGE_LOOKS = 20;

export class RootFolders {
  readonly #origins: readonly Origin[];
  readonly #found: Folders;
  readonly #now: () => number;
  /** Closed at the first event, so that a busy folder does not wake the process up again and again. */
  #watchers: FSWatcher[] = [];
  #stamps: readonly string[] = [];
  #isTold = false;
  #hasChanged = false;
  #isAllWatched = false;
  /** When to look again without having been told. */
  #lookAt: number;
  /** Until when what is told is not looked at: of a folder in which other things are written. */
  #ignoreUntil = 0;
  readonly #looks = new Refresh(() => this.#look());

  private constructor(origins: readonly Origin[], found: Folders, now: () => number) {
    this.#origins = origins;
    this.#found = found;
    this.#now = now;
    this.#watch();
    this.#lookAt = now() + this.#lookAgeMs;
  }

  /** To be called before the files are read, so that a change during the reading is seen. Never rejects. `now`: monotonic time, ms. */
  static async of(
    origins: readonly Origin[],
    now: () => number = () => performance.now(),
  ): Promise<RootFolders> {
    const directories = origins.filter(({ kind }) => kind === 'directory');
    const made = new RootFolders(directories, await foldersOf(directories), now);
    made.#stamps = await fileStamps(directories, asRead);
    if (made.#isSmall) made.close();
    return made;
  }

  get #isSmall(): boolean {
    return this.#stamps.length <= QUICK_FILES;
  }

  get #lookAgeMs(): number {
    return this.#isAllWatched ? WATCHED_LOOK_AGE_MS : LOOK_AGE_MS;
  }

  /** Whether one of the files was written. Where there are many, a change that the kernel does not tell of is seen after `#lookAgeMs`. */
  async hasChanged(): Promise<boolean> {
    if (this.#hasChanged) return true;
    const now = this.#now();
    if (this.#isSmall || (this.#isTold && now >= this.#ignoreUntil)) await this.#looks.request();
    else if (now >= this.#lookAt) void this.#looks.request();
    return this.#hasChanged;
  }

  close(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const since = this.#now();
    const wasTold = this.#isTold;
    if (wasTold) this.#watch();
    const stamps = await fileStamps(this.#origins);
    this.#hasChanged ||=
      stamps.length !== this.#stamps.length || stamps.some((stamp, at) => stamp !== this.#stamps[at]);
    const now = this.#now();
    const restMs = (now - since) * LOOK_AGE_LOOKS;
    this.#lookAt = now + Math.max(restMs, this.#lookAgeMs);
    if (wasTold) this.#ignoreUntil = now + restMs;
  }

  #watch(): void {
    this.#isTold = false;
    this.#isAllWatched = this.#found.isAll;
    const onEvent = (): void => {
      this.#isTold = true;
      this.close();
    };
    for (const folder of this.#found.folders) {
      try {
        const watcher = watch(folder, { persistent: false }, onEvent);
        watcher.on('error', onEvent);
        this.#watchers.push(watcher);
      } catch {
        // No watch is left, or the folder is gone: the looks in the background find changes.
        this.#isAllWatched = false;
      }
    }
  }
}

/** `isAll`: the kernel tells of each file. */
interface Folders {
  readonly folders: readonly string[];
  readonly isAll: boolean;
}

/** The folders of the files, also of those behind links. Those on other machines tell nothing, and a dead one would block. */
async function foldersOf(directories: readonly Origin[]): Promise<Folders> {
  const slices = new Slices();
  const found = new Set<string>();
  const linked = new Set<string>();
  let isAll = true;
  const add = (folder: string): boolean => {
    const isLocal = isOnLocalDisk(folder);
    if (isLocal) found.add(folder);
    else isAll = false;
    return isLocal;
  };
  for (const { path } of directories) {
    const folder = await realpath(path).catch(() => '');
    if (!add(folder)) continue;
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
      await slices.next();
      if (entry.isSymbolicLink()) linked.add(resolve(folder, dirname(targetOf(join(folder, entry.name)))));
    }
  }
  for (const path of linked) {
    if (found.size >= FOLDERS_MAX) {
      isAll = false;
      break;
    }
    add(await realpath(path).catch(() => ''));
  }
  return { folders: [...found], isAll };
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '.';
  }
}
