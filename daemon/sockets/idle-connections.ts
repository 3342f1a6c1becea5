// Limits the connections on which nothing has been asked yet. So a process keeps file descriptors for its work, and a new client is always served.
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { descriptorLimit } from '../base/process/descriptors.ts';

/** Shares of the process's file descriptors: connections of one server, and those of them on which nothing has been asked. */
const CONNECTIONS_SHARE = 1 / 2;
const IDLE_SHARE = 1 / 16;
const MAX_IDLE = 1024;
/** ms that a connection always has for its first bytes: many are accepted in one turn of the event loop, before the first is read. */
const FIRST_BYTES_MS = 100;

/** Most connections of one server. */
export const MAX_CONNECTIONS = Math.floor(descriptorLimit() * CONNECTIONS_SHARE);

export interface IdleConnectionsOptions {
  /** Most connections of these; for tests. */
  readonly max?: number;
}

/** Above the limit, the connections that have been idle longest are closed. */
export class IdleConnections {
  readonly #max: number;
  /** With performance.now() of their start, the longest idle first. */
  readonly #idle = new Map<Socket, number>();
  /** True while a look for connections to close is due. */
  #isDue = false;

  constructor(options: IdleConnectionsOptions = {}) {
    this.#max = options.max ?? Math.min(MAX_IDLE, Math.floor(descriptorLimit() * IDLE_SHARE));
  }

  get size(): number {
    return this.#idle.size;
  }

  /** `socket` is idle until the returned function is called, or until it is closed. */
  add(socket: Socket): () => void {
    const over = (): void => {
      this.#idle.delete(socket);
      socket.off('close', over);
    };
    if (socket.destroyed) return over;
    this.#idle.set(socket, performance.now());
    socket.on('close', over);
    this.#closeSoon();
    return over;
  }

  /** Watches the connections of an HTTP server: each is idle until its request, and again after the answer. */
  watch(server: Server): void {
    const overOf = new WeakMap<Socket, () => void>();
    const asked = (socket: Socket): void => {
      overOf.get(socket)?.();
    };
    const idle = (socket: Socket): void => {
      overOf.set(socket, this.add(socket));
    };
    server.on('connection', idle);
    server.on('request', ({ socket }, response) => {
      asked(socket);
      response.once('close', () => {
        if (!socket.destroyed) idle(socket);
      });
    });
    for (const event of ['upgrade', 'connect'] as const)
      server.on(event, ({ socket }: IncomingMessage) => asked(socket));
  }

  #closeSoon(): void {
    if (this.#isDue || this.#idle.size <= this.#max) return;
    this.#isDue = true;
    setTimeout(() => {
      this.#isDue = false;
      this.#closeLongest();
      this.#closeSoon();
    }, FIRST_BYTES_MS).unref();
  }

  #closeLongest(): void {
    const latest = performance.now() - FIRST_BYTES_MS;
    for (const [socket, since] of this.#idle) {
      if (this.#idle.size <= this.#max) return;
      if (since > latest) return;
      this.#idle.delete(socket);
      socket.destroy();
    }
  }
}
