// Where the daemon listens, for whoever asks it something: looked at before anything is said, since the folder may lie in a temp dir of all users.
import { lstatSync } from 'node:fs';
import { errnoOf } from '../daemon/base/failure.ts';
import { bmuxdPaths, type Env } from '../daemon/base/paths.ts';
import { fail } from '../daemon/errors/fail.ts';

/** Path of the control socket. Throws `runtime_dir_insecure` when its folder is somebody else's: they would read what is asked, and answer it. */
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

/** Undefined when there is nothing: no daemon either. */
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
