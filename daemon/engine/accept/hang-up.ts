// Notices that a client has closed its socket while nothing is read from it. An end of its own side alone is no hang-up: its bytes still count.
import type { Socket } from 'node:net';
import { isClosedByPeer } from '../../sockets/peer.ts';

/** ms between two looks. A stream that is opened sooner is not looked for. */
const LOOK_MS = 250;

/** Calls `onGone` once when the client has closed `socket`, until the returned function is called. */
export function onHangUp(socket: Socket, onGone: () => void): () => void {
  const over = (): void => {
    clearInterval(timer);
  };
  const timer = setInterval(() => {
    if (!socket.destroyed && !isClosedByPeer(socket)) return;
    over();
    onGone();
  }, LOOK_MS);
  return over;
}
