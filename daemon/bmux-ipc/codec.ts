// The positional codec of bmux's IPC: docs/bmux-protocol.md, "Encoding".
import { fail } from '../errors/fail.ts';
import type { Epoch } from './epoch.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const U64_MAX = 0xffff_ffff_ffff_ffffn;
const MAX_VARINT_BYTES = 10;
const UUID_TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function refuse(why: string): Error {
  return fail('frame_invalid', { why });
}

function uuidText(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Appends values in the order of their declaration. Throws `frame_invalid` for a value that the encoding cannot represent. */
export class Writer {
  #bytes: Buffer;
  #length = 0;

  /** `sizeHint`: expected size of the result, bytes; the buffer grows when needed. */
  constructor(sizeHint = 256) {
    this.#bytes = Buffer.allocUnsafe(sizeHint);
  }

  #grow(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    bigger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bigger;
  }

  bool(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u8(value: number): this {
    if (!Number.isInteger(value) || value < 0 || value > 0xff) throw refuse(`${value} is not a u8`);
    this.#grow(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  /** u16, u32, u64, usize, a length or a variant index: unsigned LEB128. */
  varint(value: bigint | number): this {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) throw refuse(`${value} is not a u64`);
    this.#grow(MAX_VARINT_BYTES);
    // Fast path: most values fit into one byte and need no bigint.
    if (typeof value === 'number' && value >= 0 && value <= 0x7f) {
      this.#bytes[this.#length++] = value;
      return this;
    }
    let left = BigInt(value);
    if (left < 0n || left > U64_MAX) throw refuse(`${value} is not a u64`);
    for (; left > 0x7fn; left >>= 7n) this.#bytes[this.#length++] = Number(left & 0x7fn) | 0x80;
    this.#bytes[this.#length++] = Number(left);
    return this;
  }

  /** Bytes as they are, without a length. */
  raw(value: Uint8Array): this {
    this.#grow(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  bytes(value: Uint8Array): this {
    return this.varint(value.length).raw(value);
  }

  /** UTF-8; a lone surrogate becomes U+FFFD. */
  string(value: string): this {
    return this.#text(value, 'utf8');
  }

  /** The bytes of `value`, with their count before them. */
  #text(value: string, encoding: 'utf8' | 'hex'): this {
    const length = Buffer.byteLength(value, encoding);
    this.varint(length).#grow(length);
    this.#length += this.#bytes.write(value, this.#length, encoding);
    return this;
  }

  option<T>(value: T | undefined, write: (value: T, writer: this) => unknown): this {
    this.bool(value !== undefined);
    if (value !== undefined) write(value, this);
    return this;
  }

  vec<T>(values: readonly T[], write: (value: T, writer: this) => unknown): this {
    this.varint(values.length);
    for (const value of values) write(value, this);
    return this;
  }

  /** `value` is the hyphenated text. Epoch 3: 37 bytes, the text; epoch 4: 17 bytes, the raw form. */
  uuid(epoch: Epoch, value: string): this {
    const text = value.toLowerCase();
    if (!UUID_TEXT.test(text)) throw refuse('not a UUID');
    return epoch === 3 ? this.string(text) : this.#text(text.replaceAll('-', ''), 'hex');
  }

  /** The written bytes; the writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/**
 * Reads values from the front of `bytes`, in the order of their declaration. Throws `frame_invalid` for everything that the
 * rules do not allow. A length claimed by the peer never makes it allocate more than the input holds.
 */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes that have not been read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw refuse('truncated');
    this.#at += 1;
    return byte;
  }

  bool(): boolean {
    const byte = this.u8();
    if (byte > 1) throw refuse(`${byte} is not a bool`);
    return byte === 1;
  }

  /** A u64 as unsigned LEB128 of at most 10 bytes. */
  varint(): bigint {
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8();
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > U64_MAX) break;
        return value;
      }
    }
    throw refuse('a varint is over 64 bits');
  }

  #integer(limit: number, what: string): number {
    const byte = this.#bytes[this.#at];
    // Fast path: most values fit into one byte and need no bigint.
    if (byte !== undefined && byte < 0x80 && byte <= limit) {
      this.#at += 1;
      return byte;
    }
    const value = this.varint();
    if (value > BigInt(limit)) throw refuse(`${value} is not a ${what}`);
    return Number(value);
  }

  u16(): number {
    return this.#integer(0xffff, 'u16');
  }

  u32(): number {
    return this.#integer(0xffff_ffff, 'u32');
  }

  /** The index of one of `count` variants; `what` names the enum in the refusal. */
  variant(count: number, what: string): number {
    return this.#integer(count - 1, `variant of ${what}`);
  }

  #length(): number {
    const byte = this.#bytes[this.#at];
    if (byte !== undefined && byte < 0x80 && byte < this.left) {
      this.#at += 1;
      return byte;
    }
    const length = this.varint();
    if (length > BigInt(this.left)) throw refuse(`a length of ${length} is beyond the input`);
    return Number(length);
  }

  #take(length: number): Buffer {
    const from = this.#at;
    this.#at += length;
    return this.#bytes.subarray(from, this.#at);
  }

  /** A view into the input, not a copy. */
  bytes(): Uint8Array {
    return this.#take(this.#length());
  }

  string(): string {
    const bytes = this.#take(this.#length());
    // `toString` puts U+FFFD for invalid bytes, so a text without U+FFFD was valid.
    const text = bytes.toString('utf8');
    if (!text.includes('\ufffd')) return text;
    try {
      return UTF8.decode(bytes);
    } catch (error) {
      if (error instanceof TypeError) throw fail('frame_invalid', { why: 'a string is not UTF-8' }, error);
      throw error;
    }
  }

  option<T>(read: (reader: this) => T): T | undefined {
    return this.bool() ? read(this) : undefined;
  }

  /** Every element takes at least one byte, so a count larger than the input is refused before an element is read. */
  vec<T>(read: (reader: this) => T): T[] {
    const values: T[] = [];
    for (let left = this.#length(); left > 0; left -= 1) values.push(read(this));
    return values;
  }

  /** The hyphenated lower-case text of a Uuid. */
  uuid(epoch: Epoch): string {
    if (epoch === 3) {
      const text = this.string();
      if (!UUID_TEXT.test(text)) throw refuse('not a UUID');
      return text;
    }
    const raw = this.#take(this.#length());
    if (raw.length !== 16) throw refuse(`a UUID of ${raw.length} bytes`);
    return uuidText(raw.toString('hex'));
  }

  /** The remaining bytes, as a view. */
  rest(): Uint8Array {
    return this.#take(this.left);
  }

  /** Throws `frame_invalid` if bytes remain. */
  end(): void {
    if (this.left > 0) throw refuse(`${this.left} bytes too many`);
  }
}
