// Binds a socket on which another process listens. The binding process keeps the socket open while listening processes are replaced.
import type { Server } from 'node:net';
import { bindHandle } from '../base/node-internals.ts';

/**
 * Binds `server` to `path` without listening. Connects are refused until a process to which it was sent (`child.send(message, server)`)
 * listens. When that process exits, new connections wait in the kernel's queue for the next one. If this process listened, too, it would
 * accept some of the clients, and they would be lost when it exits.
 */
export function bindWithoutListen(server: Server, path: string): void {
  bindHandle(server, { path });
}

/** The same for a socket of a service manager, which is bound and listening already. */
export function openWithoutListen(server: Server, fd: number): void {
  bindHandle(server, { fd });
}
