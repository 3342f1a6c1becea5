// Makes a folder with its parents, one level at a time. Node's `mkdir` with `recursive` never returns in a file system that answers ENOENT
// to every new name, as /proc does. It loops in native code on a thread that no signal stops and for which `process.exit` waits.
import { constants, mkdirSync, statSync } from 'node:fs';
import { access, lstat, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../failure.ts';

/** Only the user may access the folders that are made here. */
const MODE = 0o700;

/**
 * Makes `path` and its missing parents, each with mode 0700. An existing folder is not changed. Rejects with the system's error for the
 * level that cannot be made. Always ends: each level is tried at most twice, and the system limits the length of a path.
 */
export async function makeFolder(path: string): Promise<void> {
  const parent = dirname(path);
  let error = await levelError(path);
  if (errnoOf(error) === 'ENOENT' && parent !== path) {
    await makeFolder(parent);
    error = await levelError(path);
  }
  if (error !== undefined) throw error;
}

/** The same, synchronously. */
export function makeFolderSync(path: string): void {
  const parent = dirname(path);
  let error = levelErrorSync(path);
  if (errnoOf(error) === 'ENOENT' && parent !== path) {
    makeFolderSync(parent);
    error = levelErrorSync(path);
  }
  if (error !== undefined) throw error;
}

/**
 * Makes one level. Resolves with the error, or with undefined when the folder exists. For an existing folder the error may be EROFS or
 * EACCES instead of EEXIST, so the path is examined.
 */
async function levelError(path: string): Promise<Error | undefined> {
  try {
    await mkdir(path, MODE);
    return undefined;
  } catch (error) {
    const found = await stat(path).catch(() => undefined);
    return found?.isDirectory() === true ? undefined : asError(error);
  }
}

function levelErrorSync(path: string): Error | undefined {
  try {
    mkdirSync(path, MODE);
    return undefined;
  } catch (error) {
    return isFolder(path) ? undefined : asError(error);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Rejects when files cannot be made in the folder, or the folder cannot be made in the nearest one that is there. */
export async function checkMakeable(path: string): Promise<void> {
  try {
    const info = await stat(path);
    if (!info.isDirectory()) throw new Error('it is no folder');
    await access(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
    if (errnoOf(error) !== 'ENOENT' || isLink || dirname(path) === path) throw error;
    await checkMakeable(dirname(path));
  }
}
