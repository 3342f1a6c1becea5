// Tells which paths lie on a disk of this machine. A synchronous check of a file takes 2 µs there. A network mount may be dead and needs a
// thread: 20 µs for each file and a wait for all [measured], and two wake-ups of an idle process. A request checks at least four files.
import { lstatSync, readFileSync } from 'node:fs';
import { LruMap } from '../lru-map.ts';

/** File systems that need neither network nor FUSE to answer, as the kernel names them. */
const LOCAL: ReadonlySet<string> = new Set([
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'btrfs',
  'tmpfs',
  'devtmpfs',
  'ramfs',
  'rootfs',
  'overlay',
  'f2fs',
  'zfs',
  'bcachefs',
]);
/** Linux only: what is mounted where. Reading it asks no file system. */
const MOUNTS = '/proc/self/mountinfo';
/** ms between two looks at the mounts: another file system may be mounted later. */
const MOUNTS_HOLD_MS = 5000;
/** How long a result is used while the mounts stay the same, ms: a folder may be replaced by a symlink. */
const HOLDS_MS = 60_000;
/** Maximum number of remembered paths; the oldest are dropped first. */
const MAX_PATHS = 1024;

interface Mounts {
  readonly text: string;
  readonly readAt: number;
  /** Type of the file system by mount point. */
  readonly types: ReadonlyMap<string, string>;
}

const known = new LruMap<string, { readonly local: boolean; readonly until: number }>(MAX_PATHS);
let mounts: Mounts = { text: '', readAt: -Infinity, types: new Map() };

/**
 * True when `path` (which need not exist) contains no symlink and only folders on local disks: accessing a path touches every folder above it
 * and follows symlinks. Never throws, and touches no other disk.
 */
export function isOnLocalDisk(path: string): boolean {
  const now = performance.now();
  if (now - mounts.readAt > MOUNTS_HOLD_MS) readMounts(now);
  const found = known.peek(path);
  if (found !== undefined && now < found.until) return found.local;
  const local = isLocal(path, mounts.types);
  known.set(path, { local, until: now + HOLDS_MS });
  return local;
}

function readMounts(now: number): void {
  const text = mountsText();
  if (text === mounts.text) {
    mounts = { ...mounts, readAt: now };
    return;
  }
  known.clear();
  mounts = { text, readAt: now, types: typesIn(text) };
}

function mountsText(): string {
  if (process.platform !== 'linux') return '';
  try {
    return readFileSync(MOUNTS, 'utf8');
  } catch {
    // Then no disk counts as local.
    return '';
  }
}

/** proc_pid_mountinfo(5): the fifth field is the mount point, and the type follows a lone hyphen. */
function typesIn(text: string): Map<string, string> {
  const types = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [mount = '', source = ''] = line.split(' - ', 2);
    const point = mount.split(' ')[4];
    const type = source.split(' ', 1)[0];
    // A later mount on the same point covers the earlier one.
    if (point !== undefined && type !== undefined) types.set(unescaped(point), type);
  }
  return types;
}

/** Blanks, tabs, newlines and backslashes are written in octal. */
function unescaped(point: string): string {
  return point.replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

function isLocal(path: string, types: ReadonlyMap<string, string>): boolean {
  if (!path.startsWith('/')) return false;
  let type = types.get('/') ?? '';
  for (let end = path.indexOf('/', 1); LOCAL.has(type); end = path.indexOf('/', end + 1)) {
    const folder = end < 0 ? path : path.slice(0, end);
    type = types.get(folder) ?? type;
    if (!LOCAL.has(type)) return false;
    try {
      const found = lstatSync(folder, { throwIfNoEntry: false });
      // Nothing lies below what is not there.
      if (found === undefined) return true;
      if (found.isSymbolicLink()) return false;
    } catch {
      return false;
    }
    if (end < 0) return true;
  }
  return false;
}
