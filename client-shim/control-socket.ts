// Finds the control socket for clients. The owner of its folder is checked first, because the folder may be in a temp dir of all users.
import { lstatSync } from 'node:fs';
import { errnoOf } from '../daemon/base/failure.ts';
import { bmuxdPaths, type Env } from '../daemon/base/paths.ts';
import { fail } from '../daemon/errors/fail.ts';

/** Path of the control socket. Throws `runtime_dir_insecure` when its folder belongs to another user, who could read and answer requests. */
export function controlSocketOf(env: Env): string {
  const { dir, controlSocket } = bmuxdPaths(env);
  if ((env['BMUXD_SOCKET'] ?? '') !== '') return controlSocket;
  const owner = ownerOf(dir);
  const uid = process.getuid?.();
  if (owner !== undefined && uid !== undefined && owner !== uid) {
    const why = `belongs to user ${String(owner)}, not to you (${String(uid)})`;
    throw fail('runtime_dir_insecure', { path: dir, why });
  }
  return controlSocket;
}

/** User id of the owner; undefined when there is no folder, and therefore no daemon. */
function ownerOf(dir: string): number | undefined {
  try {
    return lstatSync(dir, { throwIfNoEntry: false })?.uid;
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw fail('file_unreadable', { path: dir }, error);
  }
}

/** The working directory; the root when it has been removed. */
export function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}
