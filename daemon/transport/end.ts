// Ends a stream so that the peer can free its resources: docs/bmux-protocol.md, "Stream ends".
import type { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { giveBack } from '../base/streams/blocks.ts';
import { DISCARDS } from '../base/streams/discards.ts';

/** Bytes that are discarded before other streams get a turn. */
const TURN_BYTES = 64 * 1024;
/** Bytes that the smallest chunk counts for: each takes time. */
const MIN_COST = 1024;
/** Most bytes that are discarded. A server that ends may still have some buffers full; one that sends more does not end. */
const MAX_DISCARDED_BYTES = 4 * 1024 * 1024;

/**
 * Ends `stream` as its transport requires (FIN, close_notify, finished send side). Then reads and discards until the peer's end, and destroys
 * it. It is also destroyed after `mostBytes`. When a stream is cut instead, a real gateway never closes its connection to the server (docs/bmux-protocol.md, "Connection limit": one
 * of 64 is lost). This function takes over the stream: remove your own listeners first. Never rejects; settles within `boundMs`, and
 * when `hurry` aborts, soon after a silence of the peer (`onMute`).
 */
export function endGracefully(
  stream: Duplex,
  boundMs: number = LIMITS.endMs,
  hurry?: AbortSignal,
  mostBytes = MAX_DISCARDED_BYTES,
): Promise<void> {
  // Also for a destroyed stream, which may still emit an error.
  stream.on('error', () => undefined);
  if (stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    let discarded = 0;
    let sinceTurn = 0;
    let stopQueueing: (() => void) | undefined;
    let readAt = performance.now();
    let stopWaiting = (): void => undefined;
    const discard = (chunk: Buffer): void => {
      readAt = performance.now();
      discarded += chunk.length;
      sinceTurn += Math.max(MIN_COST, chunk.length);
      giveBack(chunk);
      if (discarded > mostBytes) {
        leave();
        return;
      }
      if (sinceTurn < TURN_BYTES || stopQueueing !== undefined) return;
      stream.pause();
      stopQueueing = DISCARDS.next(() => {
        stopQueueing = undefined;
        sinceTurn = 0;
        stream.resume();
      });
    };
    const leave = (): void => {
      clearTimeout(timer);
      stopQueueing?.();
      stopWaiting();
      hurry?.removeEventListener('abort', onHurry);
      stream.removeListener('data', discard);
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
    const onHurry = (): void => {
      stopWaiting = onMute(stream, () => readAt, leave);
    };
    const timer = setTimeout(leave, boundMs);
    stream.once('close', leave);
    stream.on('end', both);
    stream.on('finish', both);
    stream.unpipe();
    stream.removeAllListeners('data');
    if (!stream.writableEnded) stream.end();
    stream.on('data', discard);
    stream.resume();
    if (hurry?.aborted === true) onHurry();
    else hurry?.addEventListener('abort', onHurry, { once: true });
    both();
  });
}

/**
 * Calls `late` when the peer has been sent the end of `stream` and has said nothing for `LIMITS.muteMs` since. To close the stream then
 * costs the server of a gateway nothing (measured). Returned: stops waiting.
 */
export function onMute(stream: Duplex, readAt: () => number, late: () => void): () => void {
  let stop = (): void => undefined;
  const begin = (): void => {
    const sentAt = performance.now();
    const look = (): void => {
      // A paused stream may have more to say.
      const heardAt = stream.isPaused() ? performance.now() : Math.max(sentAt, readAt());
      const left = heardAt + LIMITS.muteMs - performance.now();
      if (left <= 0) late();
      else stop = onSilence(left, look);
    };
    look();
  };
  if (stream.writableFinished) begin();
  else stream.once('finish', begin);
  return () => {
    stream.off('finish', begin);
    stop();
  };
}
