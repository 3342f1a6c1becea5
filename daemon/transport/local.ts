// Opens the socket of a local bmux server.
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { resolve as absolute } from 'node:path';
import type { Duplex } from 'node:stream';
import { Refresh } from '../base/async/single-flight.ts';
import { sleep } from '../base/async/sleep.ts';
import { errnoOf, Failure } from '../base/failure.ts';
import { LruMap } from '../base/lru-map.ts';
import { pathProblem, type PathProblem } from '../base/files/path-problem.ts';
import { excessOf } from '../base/files/socket-path.ts';
import { drainAfterWriteError } from '../base/streams/drain-after-write-error.ts';
import { confirmEnd, judgeEnd, type Unproven } from '../base/streams/judge-end.ts';
import { fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { LocalRoute } from '../engine-protocol/plan.ts';
import { established, type Dialling } from './dialling.ts';
import { connectReading } from './read-buffers.ts';

/**
 * Connects to `route.socketPath`, unless another user can have made what is there. Half-open is allowed, because the server may go on
 * answering after our end.
 */
export async function openLocal(route: LocalRoute, dialling: Dialling): Promise<Duplex> {
  const path = route.socketPath;
  const excess = excessOf(path);
  if (excess !== undefined)
    throw fail('server_socket_failed', { path }, fail('socket_path_too_long', excess));
  dialling.signal.throwIfAborted();
  refuseInsecure(path);
  const socket = connectReading({ path, allowHalfOpen: true });
  try {
    await established(socket, 'connect', dialling, () =>
      fail('out_of_time', { ms: dialling.deadline.budgetMs, step: 'connecting to the server socket' }),
    );
  } catch (error) {
    if (error instanceof Failure || dialling.signal.aborted) throw error;
    throw failureOf(error, path);
  }
  judgeEnd(socket, () => (socket.writableEnded ? undefined : looksAt(path).request()));
  confirmEnd(socket);
  drainAfterWriteError(socket, LIMITS.lingerMs);
  return socket;
}

/** When (performance.now()) the paths of servers were found to be safe. */
const SAFE = new LruMap<string, number>(512);
/** ms that this counts: only this user and root can change what was found. */
const SAFE_MS = 1000;

function refuseInsecure(path: string): void {
  const now = performance.now();
  if (now - (SAFE.peek(path) ?? -Infinity) < SAFE_MS) return;
  SAFE.delete(path);
  const problem = problemOf(path);
  if (problem !== undefined)
    throw fail('server_socket_insecure', { path, part: problem.path, why: problem.why });
  SAFE.set(path, now);
}

/**
 * The part of the path that another user controls. A missing socket is a failure already: another user could make it before the connect.
 * bmux makes its folder with the umask, so the user's own group may change it.
 */
function problemOf(path: string): PathProblem | undefined {
  const me = process.getuid?.();
  try {
    return me === undefined ? undefined : pathProblem(absolute(path), me, process.getegid?.());
  } catch (error) {
    const code = errnoOf(error);
    // The same text as that of a connect.
    throw failureOf(
      code === undefined ? error : Object.assign(new Error(`connect ${code} ${path}`), { code }),
      path,
    );
  }
}

function failureOf(error: unknown, path: string): Failure {
  const code = errnoOf(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return fail('server_not_running', {}, error);
  if (code === 'EACCES' || code === 'EPERM') return fail('server_socket_denied', { path }, error);
  return fail('server_socket_failed', { path }, error);
}

/**
 * One look at a time for each server: many streams may end at once, and each look is a connection of the server. A look that began before the
 * end of a stream says nothing about that end.
 */
const LOOKS = new LruMap<string, Refresh<Unproven>>(512);

function looksAt(path: string): Refresh<Unproven> {
  const looks = LOOKS.get(path) ?? new Refresh(() => look(path));
  LOOKS.set(path, looks);
  return looks;
}

/**
 * Whether the server behind `path` has died. The kernel shows the same end for a server that was killed and for one that has closed the
 * stream. A server that lives accepts a connection that asks nothing, and ends it. One that dies resets it, or leaves a socket on which
 * nobody listens. One that exits removes its socket (docs/stream-ends.md).
 */
async function look(path: string): Promise<Unproven> {
  if (!(await refusesOrResets(path))) return undefined;
  // A server that exits may close its socket just before it removes it.
  await sleep(LIMITS.serverExitMs);
  return existsSync(path)
    ? Object.assign(new Error('the server has died'), { code: 'ECONNRESET' })
    : undefined;
}

/**
 * Connects and ends the connection at once. A connect alone proves nothing: the kernel closes the streams of a killed process before the
 * socket on which it listens, and takes connections for that until then.
 */
function refusesOrResets(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path, allowHalfOpen: true });
    const done = (died: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(died);
    };
    const timer = setTimeout(done, LIMITS.serverLookMs, false);
    confirmEnd(socket);
    socket
      .once('data', () => done(false))
      .once('end', () => done(false))
      .on('error', (error) => done(DEAD.has(errnoOf(error) ?? '')))
      .end();
  });
}

/** ENOTCONN and EPIPE: our end came after the reset. */
const DEAD: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOTCONN', 'EPIPE']);
