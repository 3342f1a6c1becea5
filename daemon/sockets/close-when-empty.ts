// Ends listening without cutting a client. A listening socket that is closed resets the connections that wait in its queue (ECONNRESET).
import { Server } from 'node:net';
import { BACKLOG } from './bind.ts';

/** Rounds of the event loop after which the socket is closed with what is in its queue: a path that leads to it still may never be quiet. */
const MAX_ROUNDS = 2 * BACKLOG;

/**
 * Accepts what is in the queue of `server`, then closes it. Resolves when it is closed. The event loop accepts one connection of a socket in each
 * round, so a round without one means that the queue is empty. Before, the path has been removed or leads to another socket. Where a service manager
 * holds the socket, closing it cuts nobody.
 */
export function closeWhenEmpty(server: Server): Promise<void> {
  return new Promise((resolve) => {
    let accepted = 0;
    let before: number | undefined;
    const count = (): void => {
      accepted += 1;
    };
    const look = (round: number): void => {
      if (accepted === before || round > MAX_ROUNDS) {
        for (const event of ACCEPTED) server.off(event, count);
        // The method of an HTTP server ends idle connections, too: in Node 26 also those that have just been accepted.
        Server.prototype.close.call(server);
        resolve();
        return;
      }
      before = accepted;
      setImmediate(look, round + 1);
    };
    for (const event of ACCEPTED) server.on(event, count);
    setImmediate(look, 0);
  });
}

/** 'drop': accepted and closed, since the server has too many. */
const ACCEPTED = ['connection', 'drop'] as const;
