// Closes the connections of other users, besides the modes of folders and sockets: a wrong mode or a passed socket must not let them in.
import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../base/log.ts';
import { loadPeerCheck, peerOf } from './peer.ts';

/** ms between two lines about refused connections, so that another user cannot fill the log. */
const LOG_MS = 10_000;

/** Decides for all sockets of a process. */
export class OwnClients {
  readonly #log: Logger;
  readonly #me: number | undefined;
  #refused = 0;
  #loggedMs = -LOG_MS;

  /** `me`: the user that is served, besides root. */
  constructor(log: Logger, me: number | undefined = process.getuid?.()) {
    this.#log = log;
    this.#me = me;
  }

  /** True for a connection of this user or root. Any other is destroyed, before a byte of it is read. */
  admits(socket: Socket): boolean {
    const peer = peerOf(socket);
    if (peer === 'unchecked') return true;
    if (peer !== 'unknown' && (peer.uid === this.#me || peer.uid === 0)) return true;
    socket.destroy();
    this.#refused += 1;
    const now = performance.now();
    if (now - this.#loggedMs >= LOG_MS) {
      this.#loggedMs = now;
      const who = peer === 'unknown' ? {} : peer;
      this.#log.warn({ ...who, refused: this.#refused }, 'a connection of another user was refused');
    }
    return false;
  }

  /** Checks every connection of `server`, also those that other servers pass to it. */
  guard(server: HttpServer): void {
    loadPeerCheck();
    server.prependListener('connection', (socket: Socket) => {
      this.admits(socket);
    });
  }
}
