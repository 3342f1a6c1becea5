// Looks at files when something in their folders changes, and now and then without a change: the system may have no events, or lose some.
import { statSync, watch, type FSWatcher } from 'node:fs';
import { SYSTEM_CLOCK, type Clock } from '../async/clock.ts';

/** ms between two looks while all folders are watched, and while one cannot be. */
const NET_MS = 8000;
const UNWATCHED_MS = 500;
/** ms that a look waits for further changes, which usually come together. */
const TOGETHER_MS = 20;

export interface FolderLooksOptions {
  /** Asked before each look. */
  readonly folders: () => Iterable<string>;
  /** Must not throw. It may be called while an earlier one runs. */
  readonly look: () => void;
  readonly clock?: Clock;
}

interface Watched {
  readonly watcher: FSWatcher;
  /** See `folderIdentity`. */
  readonly identity: string;
}

/** Looks from its construction until `close`. It does not keep the process alive. */
export class FolderLooks {
  readonly #options: FolderLooksOptions;
  readonly #clock: Clock;
  readonly #watched = new Map<string, Watched>();
  #isWatched: boolean | undefined;
  #stopNet: () => void = () => undefined;
  #cancelSoon: (() => void) | undefined;
  #isClosed = false;

  constructor(options: FolderLooksOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#prepare();
  }

  close(): void {
    this.#isClosed = true;
    this.#stopNet();
    this.#cancelSoon?.();
    for (const folder of this.#watched.keys()) this.#forget(folder);
  }

  #look(): void {
    if (this.#isClosed) return;
    this.#prepare();
    this.#options.look();
  }

  /** Watches the folders before the look, so that no change after it is missed, and sees to the looks without an event. */
  #prepare(): void {
    const isWatched = this.#watch();
    if (this.#isWatched === isWatched) return;
    this.#isWatched = isWatched;
    this.#stopNet();
    this.#stopNet = this.#clock.every(isWatched ? NET_MS : UNWATCHED_MS, () => {
      this.#look();
    });
  }

  readonly #onChange = (): void => {
    this.#cancelSoon ??= this.#clock.after(TOGETHER_MS, () => {
      this.#cancelSoon = undefined;
      this.#look();
    });
  };

  /** True when all folders are watched. */
  #watch(): boolean {
    const wanted = new Set(this.#options.folders());
    for (const folder of this.#watched.keys()) if (!wanted.has(folder)) this.#forget(folder);
    let all = true;
    for (const folder of wanted) all = this.#watchOne(folder) && all;
    return all;
  }

  #watchOne(folder: string): boolean {
    const identity = folderIdentity(folder);
    if (identity !== undefined && this.#watched.get(folder)?.identity === identity) return true;
    this.#forget(folder);
    if (identity === undefined) return false;
    try {
      const watcher = watch(folder, { persistent: false }, this.#onChange);
      watcher.on('error', () => {
        this.#forget(folder);
        this.#onChange();
      });
      this.#watched.set(folder, { watcher, identity });
      return true;
    } catch {
      // The system's limit of watches is reached, or the folder has gone.
      return false;
    }
  }

  #forget(folder: string): void {
    this.#watched.get(folder)?.watcher.close();
    this.#watched.delete(folder);
  }
}

/** Which folder this is; undefined when there is none. One that is made again may get the inode of the one before, as on ext4, but not its birth. */
export function folderIdentity(folder: string): string | undefined {
  try {
    const { dev, ino, birthtimeNs } = statSync(folder, { bigint: true });
    return [dev, ino, birthtimeNs].map(String).join(':');
  } catch {
    return undefined;
  }
}
