// Tells which paths lie on a disk of this machine. A synchronous check of a file takes 2 µs there. A network mount may be dead and needs a
// thread: 20 µs for each file and a wait for all [measured]. A request checks at least four files.
import { lstat, realpath, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SingleFlight } from '../../base/async/single-flight.ts';
import { errnoOf } from '../../base/failure.ts';
import { LruMap } from '../../base/lru-map.ts';

/** `f_type` of local file systems: they need neither network nor FUSE to answer (statfs(2), linux/magic.h). */
const LOCAL: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0x01021994, // tmpfs
  0x858458f6, // ramfs
  0x794c7630, // overlayfs
  0xf2f52010, // F2FS
  0x2fc12fc1, // ZFS
  0xca451a4e, // bcachefs
]);
/** How long a result is used, ms: another file system may be mounted later. */
const HOLDS_MS = 5000;
/** Maximum number of remembered paths; the oldest are dropped first. */
const MAX_PATHS = 1024;

/** Requests that need a result at once share one search. */
const searches = new SingleFlight<string, void>();
const known = new LruMap<string, { readonly local: boolean; readonly until: number }>(MAX_PATHS);

/** True when `path` (which need not exist) and all folders above it were recently found on local disks. */
export function isOnLocalDisk(path: string): boolean {
  return lately(path) === true;
}

/** The remembered result, unless it has expired. */
function lately(path: string): boolean | undefined {
  const found = known.peek(path);
  return found !== undefined && performance.now() < found.until ? found.local : undefined;
}

/** Finds and remembers the result in a thread, unless it is known. Never fails; never settles when the file system never answers. */
export async function findDisk(path: string): Promise<void> {
  // The numbers in `LOCAL` are specific to Linux.
  if (process.platform !== 'linux' || lately(path) !== undefined) return;
  await searches.run(path, async () => {
    const local = await isLocal(path).catch(() => false);
    known.set(path, { local, until: performance.now() + HOLDS_MS });
  });
}

/** True when the path contains no symlink and only local folders: accessing a path touches every folder above it and follows symlinks. */
async function isLocal(path: string): Promise<boolean> {
  const there = await nearest(path);
  if ((await realpath(there)) !== there) return false;
  for (let folder = there; ; folder = dirname(folder)) {
    if (!LOCAL.has((await statfs(folder)).type)) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** The path itself, or the nearest existing folder above it. A symlink counts as existing, wherever it leads. */
async function nearest(path: string): Promise<string> {
  try {
    await lstat(path);
    return path;
  } catch (error) {
    const above = dirname(path);
    const code = errnoOf(error);
    if (above === path || (code !== 'ENOENT' && code !== 'ENOTDIR')) throw error;
    return nearest(above);
  }
}
