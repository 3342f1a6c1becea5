// stdin and stdout to a stream, as `ssh -W` does: half-close both ways, done when the server has said its last byte.
import type { Duplex, Readable, Writable } from 'node:stream';
import { errnoOf } from '../daemon/base/failure.ts';
import { fail } from '../daemon/wire/fail.ts';

export interface BridgeOptions {
  readonly stream: Duplex;
  readonly stdin: Readable;
  readonly stdout: Writable;
  /** Asked at the end of the stream: whether it was none of the server's. */
  readonly wasCut: () => Promise<boolean>;
}

/**
 * Resolves with the exit status: 0 when the stream came to its end, 1 when nobody reads stdout any more. Rejects with `stream_lost`.
 * The end of stdin ends the stream's other half only. The server's end ends all: a bmux server that has ended hears nothing more.
 */
export function bridge({ stream, stdin, stdout, wasCut }: BridgeOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    outliveWrites(stream);
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
      for (let left: unknown = stream.read(); left !== null; left = stream.read()) stdout.write(left);
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
      const asked = wasCut();
      // Everything written before the callback has left this process.
      stdout.write('', () => {
        leave();
        asked.then((cut) => {
          if (cut) reject(fail('stream_lost', { why: 'its engine has died' }));
          else resolve(0);
        }, reject);
      });
    });
  });
}

/**
 * Node destroys a socket on which a write fails, and with it what has arrived there and was not read yet. The broker closes both halves when
 * the server has ended and we say nothing for a while; that must not cost a slow reader the server's last words. So a write that nobody
 * takes any more stays open: nothing more is written, and the reading comes to its end.
 */
function outliveWrites(stream: Duplex): void {
  type Done = (error?: Error | null) => void;
  const unlessClosed =
    (done: Done): Done =>
    (error) => {
      if (!CLOSED.has(errnoOf(error) ?? '')) done(error);
    };
  const write = stream._write.bind(stream);
  const writev = stream._writev?.bind(stream);
  stream._write = (chunk, encoding, done) => {
    write(chunk, encoding, unlessClosed(done));
  };
  if (writev === undefined) return;
  stream._writev = (chunks, done) => {
    writev(chunks, unlessClosed(done));
  };
}

/** What a write says when the other side has closed its socket. */
const CLOSED: ReadonlySet<string> = new Set(['EPIPE', 'ECONNRESET']);
