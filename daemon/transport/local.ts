// Opens the socket of a local bmux server.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { SingleFlight } from '../base/async/single-flight.ts';
import { errnoOf, Failure } from '../base/failure.ts';
import { excessOf } from '../base/files/socket-path.ts';
import { drainAfterWriteError } from '../base/streams/drain-after-write-error.ts';
import { confirmEnd, judgeEnd, type Unproven } from '../base/streams/judge-end.ts';
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
  judgeEnd(socket, () => (socket.writableEnded ? undefined : looks.run(path, () => look(path))));
  confirmEnd(socket);
  drainAfterWriteError(socket, LIMITS.lingerMs);
  return socket;
}

/** One look at a time for each server: many streams may end at once, and each look is a connection of the server. */
const looks = new SingleFlight<string, Unproven>();

/**
 * Whether the server behind `path` has died. The kernel shows the same end for a server that was killed and for one that has closed the
 * stream. But a server that exits removes its socket, and one that dies leaves a socket on which nobody listens (docs/stream-ends.md).
 */
function look(path: string): Promise<Unproven> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (unproven: Unproven): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(unproven);
    };
    const timer = setTimeout(done, LIMITS.serverLookMs, undefined);
    socket.once('connect', () => {
      done(undefined);
    });
    socket.on('error', (error) => {
      done(errnoOf(error) === 'ECONNREFUSED' ? died() : undefined);
    });
  });
}

function died(): Error {
  return Object.assign(new Error('the server has died'), { code: 'ECONNRESET' });
}
