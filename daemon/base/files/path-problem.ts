// Checks that no other user can replace a path, as sshd checks its own files: owner, mode, symbolic links, and every folder above.
import { lstatSync, readlinkSync, statSync, type Stats } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';

/** A part of a path that another user controls. */
export interface PathProblem {
  readonly path: string;
  /** Follows the path in a text: `belongs to user 1000, not to you (0)`. */
  readonly why: string;
}

/** Symbolic links that are followed in one path; the limit of Linux. */
const MAX_LINKS = 40;

/**
 * The first part of an absolute `path` that another user than `me` and root controls; undefined when there is none. Throws the system's
 * error, for example ENOENT. After a success no other user can replace any part. So what is at the path later is what was checked, or
 * something that `me` or root has made.
 *
 * `group`: a group that may change the folders, as with umask 002, where each user has a group of their own.
 *
 * In a user namespace that does not map root, the folders of root seem to belong to the owner of `/`, who is accepted above `path`.
 */
export function pathProblem(path: string, me: number, group?: number): PathProblem | undefined {
  if (!isAbsolute(path)) return { path, why: 'is not an absolute path' };
  const parts = path.split('/').filter(isName);
  const root = lstatSync('/');
  let at = '/';
  let shared = isShared(root, group);
  let links = 0;
  const ofRoot = writable('/', root, group);
  if (ofRoot !== undefined) return ofRoot;
  for (let name = parts.shift(); name !== undefined; name = parts.shift()) {
    const here = join(at, name);
    if (name === '..') {
      at = here;
      shared = isShared(lstatSync(at), group);
      continue;
    }
    const info = lstatSync(here);
    const isAbove = parts.length > 0 && !shared;
    if (info.uid !== me && info.uid !== 0 && !(isAbove && info.uid === root.uid))
      return { path: here, why: ownedBy(info.uid, me) };
    if (info.isSymbolicLink()) {
      links += 1;
      if (links > MAX_LINKS) return { path: here, why: 'is a symbolic link to itself' };
      const to = readlinkSync(here);
      parts.unshift(...to.split('/').filter(isName));
      if (!isAbsolute(to)) continue;
      at = '/';
      shared = isShared(root, group);
    } else {
      const problem = info.isDirectory() ? writable(here, info, group) : undefined;
      if (problem !== undefined) return problem;
      at = here;
      shared = info.isDirectory() && isShared(info, group);
    }
  }
  return undefined;
}

/**
 * Why a file is not one of `me` or root alone; undefined when no other user has made it or can change it. `group`: as for `pathProblem`.
 */
export function fileProblem(info: Stats, me: number, group?: number): string | undefined {
  if (info.uid !== me && info.uid !== 0) return ownedBy(info.uid, me);
  return isShared(info, group) ? `can be changed by others (mode ${octal(info.mode)})` : undefined;
}

/** Throws when another user has made the file or can change it. */
export function refuseForeignFile(info: Stats): void {
  const me = process.getuid?.();
  const why = me === undefined ? undefined : fileProblem(info, me);
  if (why !== undefined) throw new Error(`the file ${why}`);
}

/** Whether other users can come to the file at `path`: by their rights to it, and to each folder above. Throws the system's error. */
export function isReadByOthers(path: string, { mode }: Stats): boolean {
  if ((mode & 0o044) === 0) return false;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o011) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** The nearest folder above `path` in which other users can make files; undefined when there is none. Throws the system's error. */
export function sharedAbove(path: string): string | undefined {
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder))
    if (isShared(statSync(folder))) return folder;
  return undefined;
}

/** `belongs to user 1000, not to you (0)`. */
export function ownedBy(owner: number, me: number): string {
  return `belongs to user ${String(owner)}, not to you (${String(me)})`;
}

/** The permissions in a mode as `chmod` takes them: `0755`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

const isName = (part: string): boolean => part !== '' && part !== '.';

const isShared = ({ mode, gid }: Stats, group?: number): boolean =>
  (mode & (gid === group ? 0o002 : 0o022)) !== 0;

/** In a sticky folder only the owner of an entry can replace it, so others may write there. */
function writable(path: string, info: Stats, group?: number): PathProblem | undefined {
  if (!isShared(info, group) || (info.mode & 0o1000) !== 0) return undefined;
  return { path, why: `can be changed by others (mode ${octal(info.mode)})` };
}
