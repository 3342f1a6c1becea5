// Finds and connects to the sockets of the daemon, for clients.
import { connect, Socket } from 'node:net';
import { socketProblem } from '../daemon/api/socket-path.ts';

/**
 * Connects to a socket of the daemon. If another user could have made that socket, nothing is connected, and the error of the returned socket
 * is `path_insecure`.
 */
export function connectTo(path: string): Socket {
  const problem = socketProblem(path);
  return problem === undefined ? connect({ path, allowHalfOpen: true }) : new Socket().destroy(problem);
}

/** The working directory; the root when it has been removed. */
export function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}
