// The lock file `start.lock` of a runtime dir, held only while a process checks the sockets and binds. It names its process: the lock of one that
// was killed is taken over at once.
import { open, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isOutOfFiles, type Failure } from '../../base/failure.ts';
import { isRunning, ownIdentity } from '../../base/process/identity.ts';
import { sleep } from '../../base/async/sleep.ts';
import { isIdentity } from '../../api/instance-file.ts';
import { advised, asFailure, fail } from '../../errors/fail.ts';
import { privateName } from '../../sockets/bind.ts';

/** ms after which a lock is ignored whose process is not known: of another container or version, or not written whole. */
const STALE_MS = 5000;
/** ms that a start waits for the lock, longer than `STALE_MS`; and ms between two attempts. */
const WAIT_MS = 7500;
const RETRY_MS = 50;

/** Codes of a disk without room. */
const NO_ROOM: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT']);

/** The failure of a daemon that cannot make `socket`, or the lock for it. */
export function unbindable(socket: string, error: unknown): Failure {
  const known = asFailure(error);
  if (known.code !== 'internal') return known;
  const failure = fail('control_socket_unbindable', { socket }, error);
  if (!NO_ROOM.has(errnoOf(error))) return failure;
  return advised(failure, 'Make room on its disk, or set BMUXD_RUNTIME_DIR to a folder on another one.');
}

/**
 * Runs `work` under the lock. Rejects with `daemon_starting` when another process keeps it, with `control_socket_unbindable` when it cannot be
 * made, or with the reason of `signal`. `isLost`: whether another process has taken the lock, since this one was stopped for a while.
 */
export async function underLock<T>(
  dir: string,
  signal: AbortSignal | undefined,
  work: (isLost: () => Promise<boolean>) => Promise<T>,
): Promise<T> {
  const path = join(dir, 'start.lock');
  const own = `${JSON.stringify({ ...ownIdentity(), name: privateName() })}\n`;
  const isLost = async (): Promise<boolean> => (await contentOf(path)) !== own;
  try {
    await take(path, own, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (errnoOf(error) === 'EEXIST') throw fail('daemon_starting', { dir }, error);
    throw unbindable(path, error);
  }
  try {
    return await work(isLost);
  } finally {
    // A lock that cannot be read is left: that of a process that has ended is taken over.
    if (!(await isLost().catch(() => true))) await unlink(path).catch(() => undefined);
  }
}

/** Rejects with EEXIST when another process keeps the lock, else with the system's error or the reason of `signal`. */
async function take(path: string, own: string, signal: AbortSignal | undefined): Promise<void> {
  const until = performance.now() + WAIT_MS;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await create(path, own);
      return;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      const found = await contentOf(path);
      if (await isLeft(path, found)) await remove(path, found);
      else if (performance.now() > until) throw error;
      else await sleep(RETRY_MS, signal);
    }
  }
}

async function create(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(content);
  } catch (error) {
    await unlink(path).catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
}

/** Whether nobody holds this lock any more. */
async function isLeft(path: string, content: string | undefined): Promise<boolean> {
  const runs = runningFrom(content);
  if (runs !== undefined) return !runs;
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > STALE_MS;
}

/** Whether the process in the lock runs; undefined when that is not known. */
function runningFrom(content: string | undefined): boolean | undefined {
  try {
    const found: unknown = JSON.parse(content ?? '');
    return isIdentity(found) ? isRunning(found) : undefined;
  } catch {
    return undefined;
  }
}

/** Removes the lock with this content. Another process may have done so and taken the lock meanwhile: that one is put back. */
async function remove(path: string, content: string | undefined): Promise<void> {
  const aside = `${path}${privateName()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  // One that cannot be read is put back, too.
  const isSame = contentOf(aside).then((found) => found === content);
  if (await isSame.catch(() => false)) await rm(aside, { recursive: true, force: true });
  else await rename(aside, path);
}

/** Undefined for what is no file, such as the lock of an earlier version. Rejects when this process has no more descriptors. */
function contentOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (isOutOfFiles(error)) throw error;
    return undefined;
  });
}
