// Who is the daemon: whoever answers on the control socket. A lock guards only the moment of asking and binding.
import type { Server } from 'node:net';
import { join } from 'node:path';
import lockfile from 'proper-lockfile';
import { errnoOf, Failure, textOf } from '../base/failure.ts';
import type { BmuxdPaths } from '../base/paths.ts';
import { ask, NoAnswer } from '../handoff/ask.ts';
import { bindSocket } from '../handoff/bind.ts';
import { fail } from '../wire/fail.ts';
import { LIMITS } from '../wire/limits.ts';

/** What a connect says when nobody is there: no file, a stale one, a file that is no socket. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK']);
/** ms after which the lock of a process that was killed counts for nothing. */
const STALE_MS = 5000;
/** Tries for the lock, 50 to 200 ms apart: longer than STALE_MS in all. */
const TRIES = 50;

/**
 * Binds the control socket unless a daemon answers there; the returned function removes it again. Rejects with `daemon_already_running`
 * (or `daemon_not_answering`, `daemon_foreign`), and leaves that one alone; a stale socket is taken over.
 */
export async function claim(paths: BmuxdPaths, server: Server): Promise<() => Promise<void>> {
  let lost = false;
  const release = await lockfile
    .lock(paths.dir, {
      lockfilePath: join(paths.dir, 'start.lock'),
      stale: STALE_MS,
      retries: { retries: TRIES, minTimeout: 50, maxTimeout: 200 },
      // The default throws from a timer. A lock is lost when this process was stopped for seconds in the middle.
      onCompromised: () => {
        lost = true;
      },
    })
    .catch((error: unknown) => {
      throw fail('daemon_starting', { dir: paths.dir }, error);
    });
  try {
    const running = await whoRuns(paths.controlSocket);
    if (running !== undefined) throw running;
    if (lost) throw fail('daemon_starting', { dir: paths.dir });
    return await bound(server, paths.controlSocket);
  } finally {
    // A lock that is gone already guards nothing any more.
    await release().catch(() => undefined);
  }
}

async function bound(server: Server, socket: string): Promise<() => Promise<void>> {
  try {
    return await bindSocket(server, socket);
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw fail('control_socket_unbindable', { socket }, error);
  }
}

/** Why the socket cannot be had; undefined when nobody listens on it. */
async function whoRuns(socketPath: string): Promise<Failure | undefined> {
  try {
    const { body } = await ask({
      socketPath,
      method: 'GET',
      path: '/v1/health',
      timeoutMs: LIMITS.silenceMs,
    });
    if (
      typeof body === 'object' &&
      body !== null &&
      'pid' in body &&
      'version' in body &&
      'sinceMs' in body
    ) {
      return fail('daemon_already_running', {
        pid: Number(body.pid),
        version: String(body.version),
        since: timeOf(body.sinceMs),
      });
    }
    return fail('daemon_foreign', { socket: socketPath, why: 'it answers something else' });
  } catch (error) {
    if (NOBODY.has(errnoOf(error))) return undefined;
    // A full queue of connections: somebody is there who does not accept them.
    if (error instanceof NoAnswer || errnoOf(error) === 'EAGAIN')
      return fail('daemon_not_answering', { socket: socketPath }, error);
    return fail('daemon_foreign', { socket: socketPath, why: textOf(error) }, error);
  }
}

/** What another program says is not taken for a time before it is one: `toISOString` throws. */
function timeOf(ms: unknown): string {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString();
}
