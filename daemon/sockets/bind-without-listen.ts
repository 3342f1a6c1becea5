// A socket that is bound here and listened on elsewhere: its keeper outlives whoever accepts, and never accepts itself.
import net, { type Server } from 'node:net';

/**
 * Binds `server` to `path` without listening: nobody can connect until a process that it was sent to (`child.send(message, server)`) has begun to
 * listen. From then on who connects waits in the kernel's queue while there is no such process. A server that listens in the keeper, too,
 * would take every second client, and with them into its death.
 *
 * Node has no public word for this; its cluster module, from Node 0.12 on, does the same with the same function.
 */
export function bindWithoutListen(server: Server, path: string): void {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  if (typeof create !== 'function') throw new Error('this version of Node cannot bind without listening');
  const handle: unknown = Reflect.apply(create, undefined, [path, -1, -1]);
  if (typeof handle !== 'object' || handle === null)
    throw Object.assign(new Error(`cannot bind ${path} (errno ${String(handle)})`), { errno: handle });
  Reflect.set(server, '_handle', handle);
}
