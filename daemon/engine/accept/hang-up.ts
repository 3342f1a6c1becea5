// Notices that a client has closed its socket while nothing is read from it. An end of its own side alone is no hang-up: its bytes still count.
import type { Socket } from 'node:net';
import { closedByPeers } from '../../sockets/peer.ts';

/** ms between two looks. A client that has its stream sooner is not looked at. */
const LOOK_MS = 250;

/** The clients of an engine that wait for their streams. One timer serves them all, and only while there are any. */
export class HangUps {
  readonly #waiting = new Map<Socket, () => void>();
  #timer: NodeJS.Timeout | undefined;

  /** Calls `onGone` once when the client has closed `socket`, until the returned function is called. */
  watch(socket: Socket, onGone: () => void): () => void {
    this.#waiting.set(socket, onGone);
    this.#timer ??= setInterval(() => {
      this.#look();
    }, LOOK_MS);
    return () => {
      this.#waiting.delete(socket);
    };
  }

  #look(): void {
    const waiting = [...this.#waiting.keys()];
    const closed = closedByPeers(waiting.filter((socket) => !socket.destroyed));
    for (const socket of [...waiting.filter(({ destroyed }) => destroyed), ...closed]) {
      const onGone = this.#waiting.get(socket);
      this.#waiting.delete(socket);
      onGone?.();
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
