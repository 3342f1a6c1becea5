// Reads a stream to its end after a failed write, because the peer may have sent data that is not read yet.
import type { Duplex } from 'node:stream';
import { onSilence } from '../async/deadline.ts';
import { filterWrites, type Done } from '../node-internals.ts';

/**
 * Error codes of a write when the peer reads no more. A reset TCP connection gives EPIPE if the peer had ended before, and ECONNRESET if it
 * had not. After ECONNRESET, reading stops in the middle with a false end (Linux: the failed write clears the error, so reading does not
 * get it).
 */
const ENDED = 'EPIPE';
const RESET = 'ECONNRESET';

/**
 * Node destroys a stream on which a write fails, and drops data that arrived there and was not read. A server that answers and closes while
 * its client still sends would lose its answer. The write may fail earlier in the same turn of the event loop, or the reader may be slow.
 * After this call, `stream` is read to its end first and then destroyed, without an error if the peer had ended. Later writes succeed and
 * are discarded: if they blocked, the writer would not notice the end.
 *
 * `silenceMs`: how long after the failed write the peer may send nothing and the reader may take nothing; then the stream gets the error.
 * Without it, the peer must be one that surely ends.
 */
export function drainAfterWriteError(stream: Duplex, silenceMs?: number): void {
  let failed = false;
  const swallowing =
    (done: Done): Done =>
    (error) => {
      const code = error && 'code' in error ? error.code : undefined;
      if (!error || (code !== ENDED && code !== RESET) || stream.destroyed) {
        done(error);
        return;
      }
      if (!failed) {
        failed = true;
        readOn(stream, error, code === RESET, silenceMs);
      }
      done();
    };
  filterWrites(stream, (pass, done) => {
    if (failed) done();
    else pass(swallowing(done));
  });
}

function readOn(stream: Duplex, error: Error, isReset: boolean, silenceMs: number | undefined): void {
  if (stream.readableEnded) {
    stream.destroy();
    return;
  }
  let stopWaiting: () => void = () => undefined;
  const wait = (): void => {
    stopWaiting();
    if (silenceMs !== undefined) stopWaiting = onSilence(silenceMs, () => stream.destroy(error));
  };
  wait();
  const push = stream.push.bind(stream);
  stream.push = (chunk, encoding) => {
    if (chunk === null && isReset) {
      stream.destroy(error);
      return false;
    }
    wait();
    return push(chunk, encoding);
  };
  stream.once('close', () => {
    stopWaiting();
  });
  stream.once('end', () => {
    stream.destroy();
  });
}
