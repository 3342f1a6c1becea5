// Bridges stdin and stdout to a stream, as `ssh -W` does: half-close in both directions, done when the server has ended.
import type { Duplex, Readable, Writable } from 'node:stream';
import { Failure } from '../daemon/base/failure.ts';
import { takeBuffered } from '../daemon/base/streams/take-buffered.ts';
import { fail } from '../daemon/errors/fail.ts';

export interface BridgeOptions {
  readonly stream: Duplex;
  readonly stdin: Readable;
  readonly stdout: Writable;
}

/**
 * Resolves with the exit status: 0 when the stream ended, 1 when stdout was closed. Rejects with `stream_lost`. The end of stdin ends
 * only the client's half of the stream. The server's end ends everything, because a bmux server that has ended reads no more.
 */
export function bridge({ stream, stdin, stdout }: BridgeOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      stdin.unpipe(stream);
      stdin.destroy();
      stream.destroy();
    };
    const onData = (chunk: Buffer): void => {
      if (!stdout.write(chunk)) stream.pause();
    };
    let ended = false;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // A failed write loses nothing after the server has ended.
      if (ended) return;
      // Data that arrived before the error is still in its buffer.
      stream.off('data', onData);
      for (const chunk of takeBuffered(stream)) stdout.write(chunk);
      stdout.write('', () => {
        leave();
        const lost =
          error instanceof Failure ? error : fail('stream_lost', { why: error.code ?? error.message }, error);
        reject(lost);
      });
    });
    stdout.on('error', () => {
      leave();
      resolve(1);
    });
    // An error of stdin counts as its end: the server's remaining data is still written.
    stdin.on('error', () => stream.end());
    stdin.pipe(stream);
    stream.on('data', onData);
    stdout.on('drain', () => stream.resume());
    stream.on('end', () => {
      ended = true;
      // When the callback runs, all earlier writes have left this process.
      stdout.write('', () => {
        leave();
        resolve(0);
      });
    });
  });
}
