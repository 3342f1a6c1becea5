// Numbered bytes whose position in the stream can be read from them. So a test finds lost, repeated and reordered bytes at any rate.

const WORDS = 16 * 1024;

/** The pattern from byte `offset` on, `length` bytes: little-endian u32 counters, scrambled so that they do not compress. */
export function pattern(offset: number, length: number): Buffer {
  const first = Math.floor(offset / 4);
  const count = Math.ceil((offset + length) / 4) - first;
  // A typed array is ten times faster than writeUInt32LE; all supported platforms are little-endian.
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) words[i] = Math.imul(first + i, 0x9e3779b1);
  const bytes = Buffer.from(words.buffer);
  return bytes.subarray(offset - first * 4, offset - first * 4 + length);
}

/** The pattern in pieces of at most 64 KiB. */
export function* patternPieces(total: number): Generator<Buffer> {
  for (let at = 0; at < total; at += WORDS * 4) yield pattern(at, Math.min(WORDS * 4, total - at));
}

/** Compares received bytes with the pattern. */
export class PatternCheck {
  #count = 0;
  #badAt: number | undefined;

  /** Number of bytes so far. */
  get count(): number {
    return this.#count;
  }

  /** Offset of the first piece that differs, or undefined. */
  get badAt(): number | undefined {
    return this.#badAt;
  }

  push(chunk: Uint8Array): void {
    if (this.#badAt === undefined && !pattern(this.#count, chunk.length).equals(chunk))
      this.#badAt = this.#count;
    this.#count += chunk.length;
  }
}

/**
 * Requests in an InvokeService whose body begins with `RAW_MAGIC`; the connection carries no frames after the answer. `echo`: returns all
 * bytes, and the end too. `source N`: N bytes of the pattern, then the end. `sink`: reads the pattern until the client's end, then answers a
 * line of JSON (SinkReport) and ends.
 */
export type RawMode =
  | { readonly type: 'echo' }
  | { readonly type: 'source'; readonly bytes: number }
  | { readonly type: 'sink' };

export interface SinkReport {
  readonly count: number;
  /** Null: every byte was right. */
  readonly badAt: number | null;
}

const RAW_MAGIC = Buffer.from('\0bmux-embedded raw ');

export function encodeRawMode(mode: RawMode): Buffer {
  const words = mode.type === 'source' ? `source ${mode.bytes}` : mode.type;
  return Buffer.concat([RAW_MAGIC, Buffer.from(words)]);
}

/** Undefined for any other body, which is then echoed. */
export function decodeRawMode(body: Uint8Array): RawMode | undefined {
  const bytes = Buffer.from(body);
  if (!bytes.subarray(0, RAW_MAGIC.length).equals(RAW_MAGIC)) return undefined;
  const [word, count] = bytes.subarray(RAW_MAGIC.length).toString().split(' ');
  if (word === 'echo' || word === 'sink') return { type: word };
  return word === 'source' && Number.isSafeInteger(Number(count))
    ? { type: 'source', bytes: Number(count) }
    : undefined;
}
