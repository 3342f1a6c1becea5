// A socket that is bound here and listened on elsewhere: its keeper outlives whoever accepts, and never accepts itself.
import net, { type Server } from 'node:net';

/**
 * Binds `server` to `path` without listening: nobody can connect until a process that it was sent to (`child.send(message, server)`) has begun to
 * listen. From then on who connects waits in the kernel's queue while there is no such process. A server that listens in the keeper, too,
 * would take every second client, and with them into its death.
 */
export function bindWithoutListen(server: Server, path: string): void {
  adoptHandle(server, [path, -1, -1], path);
}

/** The same for a socket that is bound already, and listening, as a service manager passes it. */
export function openWithoutListen(server: Server, fd: number): void {
  adoptHandle(server, [null, 0, -1, fd], `descriptor ${String(fd)}`);
}

/** Node has no public word for this; its cluster module, from Node 0.12 on, does the same with the same function. */
function adoptHandle(server: Server, args: readonly unknown[], what: string): void {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  if (typeof create !== 'function') throw new Error('this version of Node cannot bind without listening');
  const handle: unknown = Reflect.apply(create, undefined, args);
  if (typeof handle !== 'object' || handle === null)
    throw Object.assign(new Error(`cannot bind ${what} (errno ${String(handle)})`), { errno: handle });
  Reflect.set(server, '_handle', handle);
}
