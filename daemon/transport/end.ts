// Ends a stream so that the other side can let go of what it holds for it: docs/bmux-protocol.md, "Stream ends".
import type { Duplex } from 'node:stream';
import { LIMITS } from '../base/limits.ts';

/**
 * Ends `stream` as its transport wants it (FIN, close_notify, finished send side), reads and discards to the peer's end, then destroys it.
 * A real gateway keeps its connection to the server for ever when a stream is cut instead (docs/bmux-protocol.md, "Connection limit": one of 64 is lost).
 * The stream is ours from now on: take your own listeners away first. Never rejects; settles at the latest `boundMs` after the call.
 */
export function endGracefully(stream: Duplex, boundMs: number = LIMITS.endMs): Promise<void> {
  // Also where it is destroyed: the error of that may still come.
  stream.on('error', () => undefined);
  if (stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const leave = (): void => {
      clearTimeout(timer);
      stream.removeListener('end', both);
      stream.removeListener('finish', both);
      stream.removeListener('close', leave);
      // Its error listener stays: an error may still come while it is being destroyed.
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
