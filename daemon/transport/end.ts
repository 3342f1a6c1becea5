// Ends a stream so that the peer can free its resources: docs/bmux-protocol.md, "Stream ends".
import type { Duplex } from 'node:stream';
import { LIMITS } from '../base/limits.ts';

/**
 * Ends `stream` as its transport requires (FIN, close_notify, finished send side). Then reads and discards until the peer's end, and destroys
 * it. When a stream is cut instead, a real gateway never closes its connection to the server (docs/bmux-protocol.md, "Connection limit": one
 * of 64 is lost). This function takes over the stream: remove your own listeners first. Never rejects; settles within `boundMs`.
 */
export function endGracefully(stream: Duplex, boundMs: number = LIMITS.endMs): Promise<void> {
  // Also for a destroyed stream, which may still emit an error.
  stream.on('error', () => undefined);
  if (stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const leave = (): void => {
      clearTimeout(timer);
      stream.removeListener('end', both);
      stream.removeListener('finish', both);
      stream.removeListener('close', leave);
      // The error listener stays, because the stream may emit an error while it is being destroyed.
      stream.destroy();
      resolve();
    };
    const both = (): void => {
      if (stream.readableEnded && stream.writableFinished) leave();
    };
    const timer = setTimeout(leave, boundMs);
    stream.once('close', leave);
    stream.on('end', both);
    stream.on('finish', both);
    stream.unpipe();
    stream.removeAllListeners('data');
    if (!stream.writableEnded) stream.end();
    stream.resume();
    both();
  });
}
