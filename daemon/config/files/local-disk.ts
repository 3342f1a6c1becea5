// Which paths lie on a disk of this machine. A look there takes 2 µs; through a thread, as a network mount that may be dead needs it, 20 µs
// for each and a wait for all [measured]. A request looks at four files at least.
import { lstat, realpath, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../../base/failure.ts';

/** `f_type` of file systems that answer by themselves: no network and no FUSE (statfs(2), linux/magic.h). */
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
/** ms that an answer holds: something else may be mounted on the way. */
const HOLDS_MS = 5000;
/** Paths remembered; the oldest go first. */
const MAX_PATHS = 1024;

const known = new Map<string, { readonly local: boolean; readonly until: number }>();

/** True when `path` (which need not exist) and all of the way to it was found on local disks lately. */
export function isOnLocalDisk(path: string): boolean {
  return lately(path) === true;
}

/** What was found, if it still holds. */
function lately(path: string): boolean | undefined {
  const found = known.get(path);
  return found !== undefined && performance.now() < found.until ? found.local : undefined;
}

/** Finds out, through a thread, unless it is known. Never fails; never ends where the file system never answers. */
export async function findDisk(path: string): Promise<void> {
  // The numbers are Linux's own.
  if (process.platform !== 'linux' || lately(path) !== undefined) return;
  const local = await isLocal(path).catch(() => false);
  known.delete(path);
  known.set(path, { local, until: performance.now() + HOLDS_MS });
  const [oldest] = known.keys();
  if (known.size > MAX_PATHS && oldest !== undefined) known.delete(oldest);
}

/** A look at a path looks at every folder on the way, and goes wherever a link leads: no link, and only local folders. */
async function isLocal(path: string): Promise<boolean> {
  const there = await nearest(path);
  if ((await realpath(there)) !== there) return false;
  for (let folder = there; ; folder = dirname(folder)) {
    if (!LOCAL.has((await statfs(folder)).type)) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** The path itself, or the nearest folder above it that is there. A link counts as there, wherever it leads. */
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
