// Mends the lengths in the head of an answer, which bmux reads and Node's parser refuses: one that is told twice, and one beside chunks.
import { Duplex } from 'node:stream';

/** Largest head that is mended, bytes. A larger one is left as it is, for the parser to refuse. */
const MAX_HEAD = 64 * 1024;

/** A connection whose answers are mended on their way to the parser. */
export class MendedConnection extends Duplex {
  readonly #inner: Duplex;
  /** The begin of a head; undefined in the body. */
  #head: string | undefined = '';

  constructor(inner: Duplex) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    inner.on('data', (chunk: Buffer) => {
      if (!this.push(this.#mended(chunk))) inner.pause();
    });
    inner.on('end', () => {
      if (this.#head !== undefined) this.push(Buffer.from(this.#head, 'latin1'));
      this.push(null);
    });
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#inner.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#inner.write(chunk, done);
  }

  override _final(done: () => void): void {
    this.#inner.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner.destroy();
    done(error);
  }

  #mended(chunk: Buffer): Buffer {
    if (this.#head === undefined) return chunk;
    let rest = this.#head + chunk.toString('latin1');
    let ready = '';
    this.#head = undefined;
    for (;;) {
      const [head] = /^[^]*?\n\r?\n/.exec(rest) ?? [];
      if (head === undefined) break;
      ready += mendedHead(head);
      rest = rest.slice(head.length);
      // The answer itself follows.
      if (!/^HTTP\/1\.\d 1(?!01)\d\d/.test(head)) return Buffer.from(ready + rest, 'latin1');
    }
    if (rest.length > MAX_HEAD) return Buffer.from(ready + rest, 'latin1');
    this.#head = rest;
    return Buffer.from(ready, 'latin1');
  }
}

const LENGTH = /^content-length:[ \t]*(.*?)[ \t\r]*\n/gim;

function mendedHead(head: string): string {
  const values = [...head.matchAll(LENGTH)].flatMap(([, value = '']) => value.split(/[ \t]*,[ \t]*/));
  const [first = ''] = values;
  // Chunks have lengths of their own.
  if (/^transfer-encoding:.*chunked[ \t\r]*$/im.test(head)) return head.replace(LENGTH, '');
  if (!/^\d+$/.test(first) || values.some((value) => value !== first)) return head;
  let isFirst = true;
  return head.replace(LENGTH, () => {
    const line = isFirst ? `content-length: ${first}\r\n` : '';
    isFirst = false;
    return line;
  });
}
