// stdin and stdout to a stream, as `ssh -W` does: half-close both ways, done when the server has said its last byte.
import type { Duplex, Readable, Writable } from 'node:stream';
import { takeBuffered } from '../daemon/base/streams/take-buffered.ts';
import { fail } from '../daemon/errors/fail.ts';

export interface BridgeOptions {
  readonly stream: Duplex;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** Asked at the end of the stream: why it broke, if it did. */
  readonly whyLost: () => Promise<string | undefined>;
}

/**
 * Resolves with the exit status: 0 when the stream came to its end, 1 when nobody reads stdout any more. Rejects with `stream_lost`.
 * The end of stdin ends the stream's other half only. The server's end ends all: a bmux server that has ended hears nothing more.
 */
export function bridge({ stream, stdin, stdout, whyLost }: BridgeOptions): Promise<number> {
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
      // What we still sent to a server that had ended is nobody's loss.
      if (ended) return;
      // What had arrived before is still in its buffer.
      stream.off('data', onData);
      for (const chunk of takeBuffered(stream)) stdout.write(chunk);
      stdout.write('', () => {
        leave();
        reject(fail('stream_lost', { why: error.code ?? error.message }, error));
      });
    });
    stdout.on('error', () => {
      leave();
      resolve(1);
    });
    // A stdin that breaks is one that has ended: what the server still says is wanted.
    stdin.on('error', () => stream.end());
    stdin.pipe(stream);
    stream.on('data', onData);
    stdout.on('drain', () => stream.resume());
    stream.on('end', () => {
      ended = true;
      const asked = whyLost();
      // Everything written before the callback has left this process.
      stdout.write('', () => {
        leave();
        asked.then((why) => {
          if (why === undefined) resolve(0);
          else reject(fail('stream_lost', { why }));
        }, reject);
      });
    });
  });
}
