// A socket that is bound here and listened on elsewhere: its keeper outlives whoever accepts, and never accepts itself.
import type { Server } from 'node:net';
import { bindHandle } from '../base/node-internals.ts';

/**
 * Binds `server` to `path` without listening: nobody can connect until a process that it was sent to (`child.send(message, server)`) has begun to
 * listen. From then on who connects waits in the kernel's queue while there is no such process. A server that listens in the keeper, too,
 * would take every second client, and with them into its death.
 */
export function bindWithoutListen(server: Server, path: string): void {
  bindHandle(server, { path });
}

/** The same for a socket that is bound already, and listening, as a service manager passes it. */
export function openWithoutListen(server: Server, fd: number): void {
  bindHandle(server, { fd });
}
