// Tells when one of a few files has changed, however the change was made. Two ways of noticing: events of the folders (fast, but blind after
// a folder was removed and made again or a symlink to it was swapped), and a look every second.
import { existsSync, statSync, unwatchFile, watchFile } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';
import { inTime } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { markNow, markNowSync, type Mark } from './file.ts';

/** A write counts as finished when the size stands still for this long, ms. */
const STABLE_MS = 100;
const STABLE_POLL_MS = 20;
/** How often the files are looked at without any event, ms. */
const NET_MS = 1000;
/** Longest wait for the folder watcher to end, ms. */
const CLOSE_MS = 1000;

export interface WatchOptions {
  /** The files to watch, existing or not; asked again at every `refresh()`. */
  readonly files: () => readonly string[];
  /** Called after one or more of them have changed, appeared or gone. */
  readonly onChange: () => void;
  /** Told about a folder watcher that failed; the look every second goes on. */
  readonly log?: ((message: string) => void) | undefined;
}

export interface FileWatch {
  /** Ends everything; `onChange` is not called any more. Calling twice is safe. */
  close(): Promise<void>;
  /** Takes note of a changed list of files. */
  refresh(): void;
}

/** The folder of `path`, or the nearest one above it that exists. */
function nearestFolder(path: string): string {
  let folder = dirname(path);
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** Every path whose coming or going may matter: the files and what is above them. */
function withParents(files: readonly string[]): Set<string> {
  const paths = new Set<string>();
  for (const file of files) {
    for (let path = file; !paths.has(path); path = dirname(path)) paths.add(path);
  }
  return paths;
}

/** What the folder watcher is attached to; a different text means that it must be attached anew. */
function attachment(folders: readonly string[]): string {
  return folders
    .map((folder) => {
      try {
        const { dev, ino } = statSync(folder);
        return `${folder}\0${String(dev)}\0${String(ino)}`;
      } catch {
        return `${folder}\0`;
      }
    })
    .join('\n');
}

class Watch implements FileWatch {
  readonly #options: WatchOptions;
  #files: readonly string[] = [];
  #marks = new Map<string, Mark>();
  #watcher: FSWatcher | undefined;
  #attached = '';
  #closed = false;
  /** The look that is under way, and whether another is wanted after it. */
  #looking: Promise<void> | undefined;
  #again = false;
  /** Watchers that are ending. */
  readonly #ending = new Set<Promise<void>>();
  readonly #onNet = (): void => {
    this.#look();
  };

  constructor(options: WatchOptions) {
    this.#options = options;
    this.refresh();
  }

  refresh(): void {
    if (this.#closed) return;
    const files = [...new Set(this.#options.files().map((file) => resolve(file)))].sort();
    const wanted = new Set(files);
    for (const file of this.#files) if (!wanted.has(file)) unwatchFile(file, this.#onNet);
    const known = new Set(this.#files);
    for (const file of files) {
      if (known.has(file)) continue;
      // At once, so that no change after this call is taken for how it was before.
      this.#marks.set(file, markNowSync(file));
      watchFile(file, { interval: NET_MS, bigint: true }, this.#onNet);
    }
    const same = files.length === known.size && files.every((file) => known.has(file));
    this.#files = files;
    this.#attach(!same);
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const file of this.#files) unwatchFile(file, this.#onNet);
    this.#files = [];
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

  /** Puts a folder watcher on the nearest existing folders, if it is not there already. */
  #attach(changed: boolean): void {
    const folders = [...new Set(this.#files.map(nearestFolder))];
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
      // A config folder may be the home folder: nothing else in it is looked at.
      ignored: (path) => !relevant.has(resolve(path)),
      awaitWriteFinish: { stabilityThreshold: STABLE_MS, pollInterval: STABLE_POLL_MS },
    });
    watcher.on('all', this.#onNet);
    watcher.on('ready', this.#onNet);
    watcher.on('error', (error) => this.#options.log?.(`watching files: ${textOf(error)}`));
    this.#watcher = watcher;
  }

  /** Compares the files with what they were, one look at a time. */
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

  /** Never fails: marks never do. */
  async #compare(): Promise<void> {
    const files = this.#files;
    const marks = await Promise.all(files.map(markNow));
    if (this.#closed) return;
    let changed = false;
    const now = new Map<string, Mark>();
    for (const [index, file] of files.entries()) {
      const mark = marks[index] ?? '';
      const before = this.#marks.get(file);
      if (before !== undefined && before !== mark) changed = true;
      now.set(file, mark);
    }
    this.#marks = now;
    this.#attach(false);
    if (!changed) return;
    try {
      this.#options.onChange();
    } catch (error) {
      this.#options.log?.(`watching files: ${textOf(error)}`);
    }
  }
}

/** Watches files from now on: a change made after this call is reported, within half a second as a rule and always within two. */
export function watchFiles(options: WatchOptions): FileWatch {
  return new Watch(options);
}
