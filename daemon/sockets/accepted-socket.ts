// The pitfalls of passing a socket to another process, all in one place (docs/decisions/streams-socket.md, "Context"; measured there).
import { Socket } from 'node:net';
import { drainAfterWriteError } from '../base/streams/drain-after-write-error.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { isHandle, startHandle, stopHandle, takeHandle, type Handle } from '../base/node-internals.ts';
import { socketReading } from '../transport/read-buffers.ts';
import { LIMITS } from '../base/limits.ts';

/**
 * Stops reading from the kernel now, not at the next turn. What was read already stays in the socket's buffer. Node gives no public way to
 * do that: without it one stream in three lost bytes.
 */
export function stopReading(socket: Socket): void {
  socket.pause();
  stopHandle(socket);
}

/** Reads again. */
export function startReading(socket: Socket): void {
  startHandle(socket);
  socket.resume();
}

/** Stops reading and takes everything that was read so far: `head` first (what came with the upgrade), then the socket's buffer. */
export function takeRead(socket: Socket, head: Buffer): Buffer {
  stopReading(socket);
  const parts: Buffer[] = [...(head.length > 0 ? [head] : []), ...takeBuffered(socket)];
  // read() may have asked for more.
  stopReading(socket);
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}

/**
 * A socket of our own for what has just been accepted, or has arrived from the parent: it is not read before its stream is there, and
 * half-close works. The socket that Node made of what was accepted is let go.
 */
export function adopt(arrived: unknown): Socket | undefined {
  if (!(arrived instanceof Socket)) return isHandle(arrived) ? ours(arrived) : undefined;
  stopReading(arrived);
  const handle = takeHandle(arrived);
  return handle === undefined ? undefined : ours(handle);
}

function ours(handle: Handle): Socket {
  const socket = socketReading(handle);
  // A client that has left has no more to give than lies in the kernel.
  drainAfterWriteError(socket, LIMITS.endMs);
  return socket;
}
