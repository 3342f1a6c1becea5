// Finds out which daemon answers on a socket.
import { noAnswerOn } from '../../api/instance-file.ts';
import { errnoOf, isNobody, isOutOfFiles, textOf, type Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { httpRequest, NoAnswer } from '../../sockets/http-request.ts';

/** The failure that says which process listens on the socket; undefined when none does. `again`: this is the second request. */
export async function whoRuns(
  socketPath: string,
  signal?: AbortSignal,
  again = false,
): Promise<Failure | undefined> {
  try {
    const { body } = await httpRequest({
      socketPath,
      method: 'GET',
      path: '/v1/health',
      timeoutMs: LIMITS.silenceMs,
      signal,
    });
    // An engine is no daemon. Somebody has linked its socket to this path.
    if (typeof body === 'object' && body !== null && 'generation' in body) return undefined;
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
    signal?.throwIfAborted();
    if (isNobody(error)) return undefined;
    if (isOutOfFiles(error)) throw asFailure(error);
    // The process was killed or has closed the connection while it answered. A second request shows whether it is gone.
    if (errnoOf(error) === 'ECONNRESET' && !again) return whoRuns(socketPath, signal, true);
    // EAGAIN: the queue of connections is full, because a process listens but does not accept.
    if (error instanceof NoAnswer || errnoOf(error) === 'EAGAIN') return noAnswerOn(socketPath, error);
    return fail('daemon_foreign', { socket: socketPath, why: textOf(error) }, error);
  }
}

/** Formats a time that another program sent. `toISOString` throws for an invalid one. */
function timeOf(ms: unknown): string {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString();
}
