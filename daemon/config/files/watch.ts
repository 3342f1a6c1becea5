// Reports when one of a few files has changed, however it was changed. It uses two mechanisms. Folder events are fast, but miss a folder that
// is removed and created again, and a symlink to it that is replaced. A check every few seconds finds those.
import { existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { inTime } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { folderIdentity } from '../../base/files/folder-looks.ts';
import { markNowSync, type Mark } from './file.ts';
import type { SteadyFiles } from './steady-files.ts';

/** A write counts as finished when the size is unchanged for this long, ms. */
const STABLE_MS = 100;
const STABLE_POLL_MS = 20;
/** Interval of the check that needs no event, ms. One check costs some microseconds, and wakes the process up. */
const NET_MS = 8000;
/** Longest wait for a folder watcher to close, ms. */
const CLOSE_MS = 1000;

export interface WatchOptions {
  /** The files to watch, existing or not; called again at every `refresh()`. */
  readonly files: () => readonly string[];
  /** Reads them. It is closed with the watch. */
  readonly through: SteadyFiles;
  /** Called after one or more of them were changed, created or removed. */
  readonly onChange: () => void;
  /** Reports an error of a folder watcher; the regular check goes on. */
  readonly log?: ((message: string) => void) | undefined;
}

export interface FileWatch {
  /** Stops watching; `onChange` is not called any more. Calling twice is safe. */
  close(): Promise<void>;
  /** Reads the list of files again. */
  refresh(): void;
}

/** The folder of `path`, or the nearest one above it that exists. */
function nearestFolder(path: string): string {
  let folder = dirname(path);
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/**
 * The folder whose events tell of `path`; undefined where only the regular check does. A folder that all users share, as /tmp, has events
 * without end, and at each of them the watcher reads it whole: too much to learn that a folder in it was made.
 */
function watchedFolder(path: string): string | undefined {
  const folder = nearestFolder(path);
  return folder !== dirname(path) && isOpenToAll(folder) ? undefined : folder;
}

/** Every user may make files in it. */
function isOpenToAll(folder: string): boolean {
  try {
    return (statSync(folder).mode & 0o002) !== 0;
  } catch {
    return false;
  }
}

/** The files and all folders above them: creating or removing any of these can matter. */
function withParents(files: readonly string[]): Set<string> {
  const paths = new Set<string>();
  for (const file of files) {
    for (let path = file; !paths.has(path); path = dirname(path)) paths.add(path);
  }
  return paths;
}

/** Identifies the folders that the watcher is attached to. When the text differs, the watcher must be attached again. */
function attachment(folders: readonly string[]): string {
  return folders.map((folder) => `${folder}\0${folderIdentity(folder) ?? ''}`).join('\n');
}

class Watch implements FileWatch {
  readonly #options: WatchOptions;
  #files: readonly string[] = [];
  readonly #marks = new Map<string, Mark>();
  #watcher: FSWatcher | undefined;
  #attached = '';
  #closed = false;
  /** The check under way, and whether another one must follow it. */
  #looking: Promise<void> | undefined;
  #again = false;
  /** Watchers that are closing. */
  readonly #ending = new Set<Promise<void>>();
  readonly #stopNet: () => void;
  readonly #onNet = (): void => {
    this.#look();
  };

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#stopNet = SYSTEM_CLOCK.every(NET_MS, this.#onNet);
    options.through.onGone(() => {
      this.#look();
    });
    this.refresh();
  }

  refresh(): void {
    if (this.#closed) return;
    const files = [...new Set(this.#options.files().map((file) => resolve(file)))].sort();
    const wanted = new Set(files);
    for (const file of this.#files) {
      if (wanted.has(file)) continue;
      this.#marks.delete(file);
    }
    const known = new Set(this.#files);
    for (const file of files) {
      if (known.has(file)) continue;
      // Synchronous, so that a change after this call is compared with the state before it.
      this.#marks.set(file, markNowSync(file));
    }
    const same = files.length === known.size && files.every((file) => known.has(file));
    this.#files = files;
    this.#attach(!same);
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopNet();
    this.#files = [];
    this.#options.through.close();
    this.#detach();
    await Promise.all([...this.#ending, this.#looking ?? Promise.resolve()]);
  }

  #detach(): void {
    const old = this.#watcher;
    this.#watcher = undefined;
    if (old === undefined) return;
    const end = inTime(old.close(), CLOSE_MS, () => new Error('the folder watcher does not end')).catch(
      (error: unknown) => this.#options.log?.(`watching files: ${textOf(error)}`),
    );
    const ended = end.then(() => {
      this.#ending.delete(ended);
    });
    this.#ending.add(ended);
  }

  /** Attaches a folder watcher to the nearest existing folders, unless it is attached to them already. */
  #attach(changed: boolean): void {
    const folders = [...new Set(this.#files.flatMap((file) => watchedFolder(file) ?? []))];
    const wanted = attachment(folders);
    if (!changed && wanted === this.#attached) return;
    this.#attached = wanted;
    this.#detach();
    if (folders.length === 0) return;
    const relevant = withParents(this.#files);
    const watcher = watch(folders, {
      depth: 0,
      ignoreInitial: true,
      ignorePermissionErrors: true,
      // A config folder may be the home folder, so everything else in it is ignored.
      ignored: (path) => !relevant.has(resolve(path)),
      awaitWriteFinish: { stabilityThreshold: STABLE_MS, pollInterval: STABLE_POLL_MS },
    });
    watcher.on('all', this.#onNet);
    watcher.on('ready', this.#onNet);
    watcher.on('error', (error) => this.#options.log?.(`watching files: ${textOf(error)}`));
    this.#watcher = watcher;
  }

  /** Compares the files with their last marks, one check at a time. */
  #look(): void {
    if (this.#closed) return;
    if (this.#looking !== undefined) {
      this.#again = true;
      return;
    }
    this.#looking = this.#compare().then(() => {
      this.#looking = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#look();
    });
  }

  /** Never fails, because taking a mark never fails. */
  async #compare(): Promise<void> {
    const files = this.#files;
    const marks = await Promise.all(files.map((file) => this.#options.through.mark(file)));
    if (this.#closed) return;
    let changed = false;
    for (const [index, file] of files.entries()) {
      const mark = marks[index];
      const before = this.#marks.get(file);
      // A file that is no longer watched has no mark, and one that was added meanwhile keeps the mark of that moment.
      if (mark === undefined || before === undefined || before === mark) continue;
      changed = true;
      this.#marks.set(file, mark);
    }
    this.#attach(false);
    if (!changed) return;
    try {
      this.#options.onChange();
    } catch (error) {
      this.#options.log?.(`watching files: ${textOf(error)}`);
    }
  }
}

/** Watches files from now on. A change after this call is usually reported within half a second, and always within five. */
export function watchFiles(options: WatchOptions): FileWatch {
  return new Watch(options);
}
