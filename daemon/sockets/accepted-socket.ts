// Handles accepted sockets without losing bytes, also those that came from another process (docs/decisions/streams-socket.md, "Context").
import { Socket } from 'node:net';
import { drainAfterWriteError } from '../base/streams/drain-after-write-error.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { isHandle, startHandle, stopHandle, takeHandle, type Handle } from '../base/node-internals.ts';
import { socketReading } from '../transport/read-buffers.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * Stops reading from the kernel at once, not at the next turn of the event loop. Bytes that were read already stay in the socket's buffer.
 * Node has no public function for this. With `pause` alone one stream in three lost bytes.
 */
export function stopReading(socket: Socket): void {
  socket.pause();
  stopHandle(socket);
}

/** Starts reading again. */
export function startReading(socket: Socket): void {
  startHandle(socket);
  socket.resume();
}

/** Stops reading and returns everything that was read so far: `head`, which came with the upgrade, then the socket's buffer. */
export function takeRead(socket: Socket, head: Buffer): Buffer {
  stopReading(socket);
  const parts: Buffer[] = [...(head.length > 0 ? [head] : []), ...takeBuffered(socket)];
  // read() may have started reading again.
  stopReading(socket);
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

/**
 * Makes a new socket for one that was accepted or that came from the parent process. It is not read before its stream is open, and half-close
 * works. The socket that Node has made for the same connection is destroyed without closing the connection.
 */
export function adopt(arrived: unknown): Socket | undefined {
  if (!(arrived instanceof Socket)) return isHandle(arrived) ? ours(arrived) : undefined;
  stopReading(arrived);
  const handle = takeHandle(arrived);
  return handle === undefined ? undefined : ours(handle);
}

function ours(handle: Handle): Socket {
  const socket = socketReading(handle);
  // After a failed write, bytes that the client sent before are still in the kernel and are read.
  drainAfterWriteError(socket, LIMITS.endMs);
  return socket;
}

/**
 * Writes `last`, if any, and ends our side of the socket. Then reads and discards until the client has ended its side, for at most
 * `LIMITS.lingerCloseMs`. A Unix socket that is closed with unread bytes gives its peer ECONNRESET instead of the answer.
 */
export function closeLingering(socket: Socket, last?: string): void {
  const cut = setTimeout(() => socket.destroy(), LIMITS.lingerCloseMs);
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    clearTimeout(cut);
  });
  socket.once('end', () => socket.destroySoon());
  if (last === undefined) socket.end();
  else socket.end(last);
  startReading(socket);
}
