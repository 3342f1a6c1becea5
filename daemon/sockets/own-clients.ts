// Closes the connections of other users, besides the modes of folders and sockets: a wrong mode or a passed socket must not let them in.
import type { Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../base/log.ts';
import { isPrivateFolder } from '../base/paths.ts';
import { closedByPeers, loadPeerCheck, peerOf } from './peer.ts';

/** ms between two lines about refused connections, so that another user cannot fill the log. */
const LOG_MS = 10_000;

/** Decides for all sockets of a process. */
export class OwnClients {
  readonly #log: Logger;
  readonly #folders: readonly string[];
  readonly #me: number | undefined;
  #refused = 0;
  #loggedMs = -LOG_MS;

  /** `folders`: those that lead to the sockets; others cannot connect while they cannot enter them. `me`: the user that is served. */
  constructor(options: {
    readonly log: Logger;
    readonly folders: readonly string[];
    readonly me?: number | undefined;
  }) {
    this.#log = options.log;
    this.#folders = options.folders;
    this.#me = options.me ?? process.getuid?.();
  }

  /** True for a connection of this user or root. Any other is destroyed, before a byte of it is read. */
  admits(socket: Socket): boolean {
    const peer = peerOf(socket);
    if (peer === 'unchecked') {
      if (this.#folders.every(isPrivateFolder)) return true;
    } else if (peer !== 'unknown' && (peer.uid === this.#me || peer.uid === 0)) return true;
    socket.destroy();
    this.#refused += 1;
    const now = performance.now();
    if (now - this.#loggedMs >= LOG_MS) {
      this.#loggedMs = now;
      const who = typeof peer === 'string' ? {} : peer;
      const what =
        peer === 'unchecked'
          ? 'a connection was refused: others can enter the folders of the sockets, and it is not known who connects'
          : 'a connection of another user was refused';
      this.#log.warn({ ...who, refused: this.#refused }, what);
    }
    return false;
  }

  /**
   * Checks every connection of `server`, also those that other servers pass to it. HTTP sees none that is not admitted, and with `awaited` none
   * whose client has gone: in a flood of clients that leave at once, the others wait behind them in the kernel's queue. Without it, a request
   * counts whose client does not wait for the answer.
   */
  guard(server: HttpServer, answers: 'awaited' | 'optional' = 'optional'): void {
    loadPeerCheck();
    const serve = server.listeners('connection');
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      if (!this.admits(socket)) return;
      if (answers === 'awaited' && closedByPeers([socket]).length > 0) socket.destroy();
      else for (const listener of serve) Reflect.apply(listener, server, [socket]);
    });
  }
}
