// Asks for the status before the rest of the program is loaded, which takes about as long as the daemon needs for its answer. It imports little.
import { connect, type Socket } from 'node:net';
import { pathProblem } from '../../base/files/path-problem.ts';
import { excessOf } from '../../base/files/socket-path.ts';
import { bmuxdPaths, type Env } from '../../base/paths.ts';

/** A request that has been sent and waits for its owner. */
export interface Sent {
  readonly socket: Socket;
  /** Why the connection was lost since. */
  readonly error: () => Error | undefined;
}

/** What `bmuxd status` and `bmuxd status --json` ask. */
const PATH = '/v1/status';

let sent: (Sent & { readonly socketPath: string }) | undefined;

/** The head of a request without a body. An answer to HTTP/1.0 is never in chunks. */
export function headOf(method: string, path: string, more = ''): string {
  return `${method} ${path} HTTP/1.0\r\nHost: bmuxd\r\n${more}\r\n`;
}

/**
 * Resolves when the request is sent, or cannot be: the command then does all again, and says why. A Unix socket takes a connection at once or
 * not at all, so this needs no time limit.
 */
export async function askEarly([, , command, option, ...more]: readonly string[], env: Env): Promise<void> {
  if (command !== 'status' || more.length > 0 || (option !== undefined && option !== '--json')) return;
  const socketPath = trusted(env);
  if (socketPath === undefined) return;
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  let lost: Error | undefined;
  const isConnected = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => {
      resolve(true);
    });
    socket.on('error', (error) => {
      lost = error;
      resolve(false);
    });
  });
  if (!isConnected) return;
  socket.write(headOf('GET', PATH));
  sent = { socket, error: () => lost, socketPath };
}

/** Gives the request away that was sent early, to the first who would send the same. */
export function takeSent(socketPath: string, method: string, path: string): Sent | undefined {
  const mine = sent;
  if (mine?.socketPath !== socketPath || method !== 'GET' || path !== PATH) return undefined;
  sent = undefined;
  mine.socket.removeAllListeners('error');
  return mine;
}

/** The path of the control socket, when no other user can be behind it. */
function trusted(env: Env): string | undefined {
  const me = process.getuid?.();
  try {
    const { controlSocket } = bmuxdPaths(env);
    const isFit = me !== undefined && excessOf(controlSocket) === undefined;
    return isFit && pathProblem(controlSocket, me) === undefined ? controlSocket : undefined;
  } catch {
    return undefined;
  }
}
