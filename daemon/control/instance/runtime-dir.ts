// Makes the runtime dir with mode 0700, and refuses one that other users could access.
import { lstat, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { textOf } from '../../base/failure.ts';
import { makeFolder } from '../../base/files/make-folder.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { maxSocketPath, PRIVATE_NAME } from '../../sockets/bind.ts';
import { fail } from '../../errors/fail.ts';

/** Makes the folders and checks that only this user can access them. Rejects with `runtime_dir_uncreatable` or `runtime_dir_insecure`. */
export async function makeRuntimeDir(paths: BmuxdPaths): Promise<void> {
  checkPath(paths);
  for (const dir of new Set([paths.dir, paths.enginesDir, dirname(paths.controlSocket)])) {
    try {
      await makeFolder(dir);
    } catch (error) {
      // When another kind of file has the name, the check below names it.
      if (!(await isTaken(dir))) throw fail('runtime_dir_uncreatable', { path: dir }, error);
    }
    await checkPrivate(dir, dir === paths.dir);
  }
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
  const path = join(enginesDir, PRIVATE_NAME);
  const length = Buffer.byteLength(path);
  if (length > maxSocketPath()) throw fail('socket_path_too_long', { path, length, limit: maxSocketPath() });
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
    throw fail('runtime_dir_insecure', {
      path: dir,
      why: `belongs to user ${String(info.uid)}, not to you (${String(uid)})`,
    });
  }
  if ((info.mode & 0o077) !== 0) {
    const mode = (info.mode & 0o777).toString(8).padStart(4, '0');
    throw fail('runtime_dir_insecure', { path: dir, why: `is open to others (mode ${mode})` });
  }
}
