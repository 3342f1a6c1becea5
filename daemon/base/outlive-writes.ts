// A peer that takes nothing more may have said much that is not read yet.
import type { Duplex } from 'node:stream';
import { onSilence } from './deadline.ts';

type Done = (error?: Error | null) => void;

/** What a write says when the other side reads no more. */
const TAKES_NO_MORE: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET']);

/**
 * Node destroys a stream on which a write fails, and with it what has arrived there and was not read. A server that answers and closes while
 * its client still sends would lose its answer so: the write may come first in the same turn of the event loop, or the reader be slow. From
 * now on `stream` is read to its end first; then it is destroyed, without an error, since nothing that could be read is missing. What is
 * written meanwhile waits, and goes nowhere.
 *
 * A peer that neither reads nor ends has so many ms, while somebody reads here; then the write fails after all.
 */
export function outliveWrites(stream: Duplex, patienceMs: number): void {
  const afterReading =
    (done: Done): Done =>
    (error) => {
      if (!error || stream.destroyed || !('code' in error) || !TAKES_NO_MORE.has(error.code)) done(error);
      else if (stream.readableEnded) stream.destroy();
      else
        hold(stream, patienceMs, () => {
          done(error);
        });
    };
  const write = stream._write.bind(stream);
  const writev = stream._writev?.bind(stream);
  const final = stream._final.bind(stream);
  stream._write = (chunk, encoding, done) => {
    write(chunk, encoding, afterReading(done));
  };
  if (writev !== undefined) {
    stream._writev = (chunks, done) => {
      writev(chunks, afterReading(done));
    };
  }
  stream._final = (done) => {
    final(afterReading(done));
  };
}

function hold(stream: Duplex, patienceMs: number, fail: () => void): void {
  let stop: () => void = () => undefined;
  const wait = (): void => {
    // A reader that is slow is no peer that is silent.
    stop = onSilence(patienceMs, () => {
      if (stream.isPaused()) wait();
      else fail();
    });
  };
  wait();
  stream.once('close', () => {
    stop();
  });
  stream.once('end', () => {
    stream.destroy();
  });
}
