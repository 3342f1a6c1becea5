// A peer that takes nothing more may have said much that is not read yet.
import type { Duplex } from 'node:stream';
import { onSilence } from '../async/deadline.ts';

type Done = (error?: Error | null) => void;

/**
 * What a write says when the other side reads no more. A TCP connection that is reset says EPIPE when the peer had ended before, and
 * ECONNRESET when it had not: then what is read of it stops in the middle, with an end that is none (Linux: the write that is told so takes
 * the error away from the reading).
 */
const ENDED = 'EPIPE';
const RESET = 'ECONNRESET';

/**
 * Node destroys a stream on which a write fails, and with it what has arrived there and was not read. A server that answers and closes while
 * its client still sends would lose its answer so: the write may come first in the same turn of the event loop, or the reader be slow. From
 * now on `stream` is read to its end first, and then destroyed: without an error when the peer had ended. What is written meanwhile is taken
 * and goes nowhere: to hold it back would hold back whoever is to hear of the end.
 *
 * `silenceMs`: so long a peer that takes nothing more may say nothing, and a reader here take nothing; then the error comes after all.
 * Without it the peer is one that is sure to end.
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
  const write = stream._write.bind(stream);
  const writev = stream._writev?.bind(stream);
  const final = stream._final.bind(stream);
  stream._write = (chunk, encoding, done) => {
    if (failed) done();
    else write(chunk, encoding, swallowing(done));
  };
  if (writev !== undefined) {
    stream._writev = (chunks, done) => {
      if (failed) done();
      else writev(chunks, swallowing(done));
    };
  }
  stream._final = (done) => {
    if (failed) done();
    else final(swallowing(done));
  };
}

function readOn(stream: Duplex, error: Error, isReset: boolean, silenceMs: number | undefined): void {
  if (stream.readableEnded) {
    stream.destroy();
    return;
  }
  let heard: () => void = () => undefined;
  const wait = (): void => {
    heard();
    if (silenceMs !== undefined) heard = onSilence(silenceMs, () => stream.destroy(error));
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
    heard();
  });
  stream.once('end', () => {
    stream.destroy();
  });
}
