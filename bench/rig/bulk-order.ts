// The order that a bulk client sends to the bulk server after the Hello, and the transfer of the bytes.
import type { Duplex } from 'node:stream';
import { Writer } from '../../daemon/bmux-ipc/codec.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import { defaultContract, encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';

/** Kind of the bytes: noise does not compress; zstd compresses text to a fifth, a listing to a sixth. */
export type Kind = 'noise' | 'text' | 'listing';

/** `down`: the server sends `bytes` and ends. `up`: it reads `bytes` and then sends one byte. `echo`: it sends everything back. */
export interface Order {
  readonly way: 'down' | 'up' | 'echo';
  readonly bytes: number;
  readonly kind: Kind;
}

/** Everything comes back. */
export const ECHO: Order = { way: 'echo', bytes: 0, kind: 'noise' };

/** Variant index of InvokeService of epoch 4, and of its answer (docs/bmux-protocol.md, "Requests" and "Answers"). */
export const INVOKE_SERVICE = 5;
export const SERVICE_ANSWER = 8;
/** Bytes of one write, as a program that copies files writes them. */
const PIECE_BYTES = 64 * 1024;

/** ms for one answer. */
const ANSWER_MS = 20_000;

/** Writes `frame` and waits for one frame. Afterwards the stream is paused, and the bytes after the frame are still in it. */
function exchange(stream: Duplex, frame: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      stream.pause();
      stream.off('data', onData);
      stream.off('end', onEnd);
      stream.off('error', onError);
      settle();
    };
    const onError = (error: Error): void => {
      finish(() => {
        reject(error);
      });
    };
    const onEnd = (): void => {
      onError(new Error('the stream ended before an answer'));
    };
    const onData = (chunk: Buffer): void => {
      reader.push(chunk);
      const payload = reader.next();
      if (payload === undefined) return;
      finish(() => {
        const rest = reader.rest();
        if (rest.length > 0) stream.unshift(rest);
        resolve(payload);
      });
    };
    const timer = setTimeout(() => {
      onError(new Error(`no answer within ${String(ANSWER_MS)} ms`));
    }, ANSWER_MS);
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('error', onError);
    stream.resume();
    stream.write(frame);
  });
}

/** Sends the Hello on a stream without a broker. */
export async function greet(stream: Duplex): Promise<void> {
  const contract = defaultContract(4);
  const principalId = 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a';
  await exchange(
    stream,
    encodeRequestFrame(4, 1n, { type: 'hello', contract, clientName: 'bench', principalId }),
  );
}

/** Sends an order; afterwards the stream carries the ordered bytes. */
export async function order(stream: Duplex, what: Order): Promise<void> {
  const body = Buffer.from(JSON.stringify(what));
  const written = new Writer(body.length + 10).bytes(body).finish();
  await exchange(stream, encodeRequestFrame(4, 2n, { type: 'other', index: INVOKE_SERVICE, body: written }));
}

/** Pseudo-random numbers below a limit, the same sequence each time. */
function numbers(): (limit: number) => number {
  let state = 1;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % limit;
  };
}

/** Lines with `bytes` bytes in total. */
function lines(bytes: number, line: () => string): Buffer {
  const all: string[] = [];
  for (let length = 0; length < bytes; length += all.at(-1)?.length ?? 0) all.push(line());
  return Buffer.from(all.join(''), 'latin1').subarray(0, bytes);
}

/** Lines as a build prints them: a fixed set of words in random order, colours, and changing numbers. */
function terminalText(bytes: number): Buffer {
  const words = [
    'running', 'test', 'src/main.rs', 'ok', 'warning:', 'unused', 'Compiling', 'src/lib/session.rs', 'error', 'pane',
  ]; // oxfmt-ignore
  const next = numbers();
  return lines(bytes, () => {
    const parts = Array.from({ length: 4 + next(6) }, () => words[next(words.length)] ?? '');
    return `\x1b[${String(31 + next(7))}m${parts.join(' ')}\x1b[0m ${String(next(100_000))}\r\n`;
  });
}

/** Lines as `ls -l --color` prints them. */
function listing(bytes: number): Buffer {
  const names = ['session', 'pane', 'window', 'gateway', 'config', 'main', 'test', 'lib'];
  const next = numbers();
  return lines(bytes, () => {
    const name = `${names[next(names.length)] ?? ''}-${String(next(1000))}.rs`;
    const size = String(next(100_000)).padStart(6);
    const time = `${String(next(24)).padStart(2, '0')}:${String(next(60)).padStart(2, '0')}`;
    return `-rw-r--r-- 1 user user ${size} Nov 25 ${time} \x1b[01;32m${name}\x1b[0m\r\n`;
  });
}

function pieces(all: Buffer): readonly Buffer[] {
  return Array.from({ length: all.length / PIECE_BYTES }, (_, at) =>
    all.subarray(at * PIECE_BYTES, (at + 1) * PIECE_BYTES),
  );
}

/** A multiple of four bytes. */
export function noiseOf(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4);
  let state = 2463534242;
  for (let at = 0; at < words.length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state >>> 0;
  }
  return Buffer.from(words.buffer);
}

/** Pieces that are written repeatedly. */
export function supplies(): Readonly<Record<Kind, readonly Buffer[]>> {
  const bytes = 32 * PIECE_BYTES;
  return {
    noise: pieces(noiseOf(bytes)),
    text: pieces(terminalText(bytes)),
    listing: pieces(listing(bytes)),
  };
}

/** Writes `bytes` bytes in pieces, as fast as the stream takes them. */
export function pour(stream: Duplex, bytes: number, from: readonly Buffer[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = bytes;
    let at = 0;
    const write = (): void => {
      while (left > 0) {
        const piece = from[at++ % from.length] ?? Buffer.alloc(PIECE_BYTES);
        const part = left < piece.length ? piece.subarray(0, left) : piece;
        left -= part.length;
        if (!stream.write(part)) return;
      }
      stream.off('drain', write);
      stream.off('error', reject);
      resolve();
    };
    stream.on('drain', write);
    stream.once('error', reject);
    write();
  });
}

/** Resolves when `bytes` bytes have been read. */
export function drain(stream: Duplex, bytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = bytes;
    stream.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left <= 0) resolve();
    });
    stream.once('end', () => {
      if (left > 0) reject(new Error(`the stream ended ${String(left)} bytes early`));
    });
    stream.once('error', reject);
    stream.resume();
  });
}
