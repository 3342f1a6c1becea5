// Makes a folder with its parents, one level at a time. Node's own `mkdir` with `recursive` never ends in a folder whose file system says ENOENT
// to every new name, as /proc does: it loops in native code, on a thread that no signal stops and that `process.exit` waits for.
import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../failure.ts';

/** Only the user may enter what is made here. */
const MODE = 0o700;

/**
 * Makes `path` and those of its parents that are missing, each with mode 0700. A folder that is there stays as it is. Rejects with the
 * system's error for the level that cannot be made. Each level is tried twice at most, and the system bounds the length of a path.
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

/** The same for callers that cannot wait. */
export function makeFolderSync(path: string): void {
  const parent = dirname(path);
  let error = levelErrorSync(path);
  if (errnoOf(error) === 'ENOENT' && parent !== path) {
    makeFolderSync(parent);
    error = levelErrorSync(path);
  }
  if (error !== undefined) throw error;
}

/** Makes one level; gives why it is not there then. For a folder that is there some systems say EROFS or EACCES, not EEXIST. */
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
