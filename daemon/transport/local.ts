// Opens the socket of a local bmux server.
import type { Duplex } from 'node:stream';
import { errnoOf, Failure } from '../base/failure.ts';
import { excessOf } from '../base/files/socket-path.ts';
import { drainAfterWriteError } from '../base/streams/drain-after-write-error.ts';
import { fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import type { LocalRoute } from '../engine-protocol/plan.ts';
import { established, type Dialling } from './dialling.ts';
import { connectReading } from './read-buffers.ts';

/** Connects to `route.socketPath`. Half-open is allowed, because the server may go on answering after our end. */
export async function openLocal(route: LocalRoute, dialling: Dialling): Promise<Duplex> {
  const path = route.socketPath;
  const excess = excessOf(path);
  if (excess !== undefined)
    throw fail('server_socket_failed', { path }, fail('socket_path_too_long', excess));
  const socket = connectReading({ path, allowHalfOpen: true });
  try {
    await established(socket, 'connect', dialling, () =>
      fail('out_of_time', { ms: dialling.deadline.budgetMs, step: 'connecting to the server socket' }),
    );
  } catch (error) {
    if (error instanceof Failure || dialling.signal.aborted) throw error;
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ECONNREFUSED') throw fail('server_not_running', {}, error);
    if (code === 'EACCES' || code === 'EPERM') throw fail('server_socket_denied', { path }, error);
    throw fail('server_socket_failed', { path }, error);
  }
  drainAfterWriteError(socket, LIMITS.lingerMs);
  return socket;
}
