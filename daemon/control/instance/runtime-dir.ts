// Makes the runtime dir with mode 0700, and refuses one that other users could access.
import { chmod, lstat, readdir, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { textOf } from '../../base/failure.ts';
import { checkMakeable, makeFolder } from '../../base/files/make-folder.ts';
import { octal, ownedBy, sharedAbove } from '../../base/files/path-problem.ts';
import { excessOf } from '../../base/files/socket-path.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { PRIVATE_NAME } from '../../sockets/bind.ts';
import { refuseForeign, refuseInsecure } from '../../api/socket-path.ts';
import { fail } from '../../errors/fail.ts';

/** Names of what is in a runtime dir and its folder of engines. */
const OURS = /^(\.\d.*|.*\.sock|instance\.json.*|start\.lock.*|engines|ssh|targets.*)$/;

/**
 * Makes the folders and checks that only this user can access them, and that no other user can replace them. Rejects with
 * `runtime_dir_uncreatable`, `runtime_dir_insecure` or `path_insecure`.
 */
export async function makeRuntimeDir(paths: BmuxdPaths, log?: Pick<Logger, 'warn'>): Promise<void> {
  checkPath(paths);
  for (const dir of new Set([paths.dir, paths.enginesDir, dirname(paths.controlSocket)])) {
    refuseForeign(dir);
    try {
      await makeFolder(dir);
    } catch (error) {
      // When another kind of file has the name, the check below names it.
      if (!(await isTaken(dir))) throw fail('runtime_dir_uncreatable', { path: dir }, error);
    }
    if (dir === paths.dir || dir === paths.enginesDir) await tighten(dir, log);
    await checkPrivate(dir, dir === paths.dir);
    refuseInsecure(dir);
  }
}

/** Checks as `makeRuntimeDir` does, and changes nothing. A missing folder is right where it can be made at the start. */
export async function checkRuntimeDir(paths: BmuxdPaths): Promise<void> {
  checkPath(paths);
  for (const dir of new Set([paths.dir, paths.enginesDir, dirname(paths.controlSocket)])) {
    const isThere = await isTaken(dir);
    if (isThere) await checkPrivate(dir, dir === paths.dir);
    refuseForeign(dir);
    try {
      await checkMakeable(dir);
    } catch (error) {
      if (!isThere) throw fail('runtime_dir_uncreatable', { path: dir }, error);
      throw fail('runtime_dir_insecure', { path: dir, why: `cannot be written: ${textOf(error)}` }, error);
    }
  }
  for (const socket of [paths.instanceSocket, paths.controlSocket, paths.streamsSocket]) {
    // A file or a stale socket is replaced.
    const info = await lstat(socket).catch(() => undefined);
    if (info?.isDirectory() === true)
      throw fail('control_socket_unbindable', { socket }, new Error('a folder is in its place'));
  }
}

/**
 * Takes the rights of others to read away from a folder of this user. An unmodified bmux that was started with a path below makes the folder
 * with mode 0755. A folder in which others can write is left as it is, for the check to refuse: they may have made files there. So is one with
 * other things in it, such as a home. Never rejects.
 */
async function tighten(dir: string, log: Pick<Logger, 'warn'> | undefined): Promise<void> {
  const info = await lstat(dir).catch(() => undefined);
  if (info?.isDirectory() !== true || info.uid !== process.getuid?.()) return;
  if ((info.mode & 0o077) === 0 || (info.mode & 0o022) !== 0) return;
  const names = await readdir(dir).catch(() => undefined);
  if (names?.every((name) => OURS.test(name)) !== true) return;
  const done = await chmod(dir, 0o700).then(
    () => true,
    () => false,
  );
  if (done) log?.warn({ dir, mode: octal(info.mode) }, 'the folder was open to others; its mode is 0700 now');
}

/** Whether `path` exists, if only as a dangling symlink. */
function isTaken(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** Checks the path of an engine's socket, which is the longest one. It must be absolute, because engines run in another working directory. */
function checkPath({ dir, enginesDir }: BmuxdPaths): void {
  if (!isAbsolute(dir)) throw fail('runtime_dir_insecure', { path: dir, why: 'is not an absolute path' });
  const excess = excessOf(join(enginesDir, PRIVATE_NAME));
  if (excess !== undefined) throw fail('socket_path_too_long', excess);
}

/** Checks owner and mode. `itself`: a symlink is refused, because another user could have made it in a shared temp folder. */
async function checkPrivate(dir: string, itself: boolean): Promise<void> {
  const info = await (itself ? lstat(dir) : stat(dir)).catch((error: unknown) => {
    throw fail('runtime_dir_insecure', { path: dir, why: `cannot be examined: ${textOf(error)}` }, error);
  });
  const uid = process.getuid?.();
  if (info.isSymbolicLink()) throw fail('runtime_dir_insecure', { path: dir, why: 'is a symbolic link' });
  if (!info.isDirectory()) throw fail('runtime_dir_insecure', { path: dir, why: 'is not a folder' });
  if (uid !== undefined && info.uid !== uid) {
    throw fail('runtime_dir_insecure', { path: dir, why: ownedBy(info.uid, uid) });
  }
  if ((info.mode & 0o077) !== 0) {
    throw fail('runtime_dir_insecure', { path: dir, why: `is open to others (mode ${octal(info.mode)})` });
  }
}

/** Warns when other users could make the runtime dir again after it has vanished: an unmodified bmux does not check whose it is. */
export function warnWhenShared(dir: string, log: Logger): void {
  const shared = sharedAbove(dir);
  if (shared === undefined) return;
  const text =
    'other users could make the runtime dir again if it vanishes, and an unmodified bmux would use it';
  log.warn({ dir, shared }, text);
}
