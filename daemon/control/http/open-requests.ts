// The requests that a server has not answered yet. A process that leaves answers them first.
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { sleep } from '../../base/async/sleep.ts';
import { closeWhenEmpty } from '../../sockets/close-when-empty.ts';

/** ms between two looks. */
const LOOK_MS = 10;
/** ms after its start in which the first request of a connection may still be under way. */
const FRESH_MS = 500;

export class OpenRequests {
  readonly #server: Server;
  /** Accepted connections whose first request has not arrived. */
  readonly #fresh = new Set<Socket>();
  /** Connections whose requests are answered, and what they had read then, bytes: more of it is the next request. */
  readonly #idle = new Map<Socket, number>();
  /** performance.now() of the latest connection. */
  #latestAt = -Infinity;
  #open = 0;

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#fresh.add(socket);
      this.#latestAt = performance.now();
      socket.once('close', () => {
        this.#fresh.delete(socket);
        this.#idle.delete(socket);
      });
    });
    server.on('request', ({ socket }, response) => {
      this.#fresh.delete(socket);
      this.#idle.delete(socket);
      this.#open += 1;
      response.once('close', () => {
        this.#open -= 1;
        if (!socket.destroyed) this.#idle.set(socket, socket.bytesRead);
      });
    });
  }

  /** Accepts what is in the queue and no more connections, and ends none. */
  acceptNoMore(): Promise<void> {
    return closeWhenEmpty(this.#server);
  }

  /** Resolves when all are answered, at the latest after `ms`. */
  async answered(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while ((this.#isFresh() || this.#open > 0) && performance.now() < until) {
      await sleep(LOOK_MS);
      for (const [socket, bytesRead] of this.#idle) if (socket.bytesRead === bytesRead) socket.destroy();
    }
  }

  /** Connections that ask nothing hold nobody up. */
  #isFresh(): boolean {
    return this.#fresh.size > 0 && performance.now() - this.#latestAt < FRESH_MS;
  }
}
