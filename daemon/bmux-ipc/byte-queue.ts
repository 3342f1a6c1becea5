// Bytes that have arrived and are not consumed yet: what frames and blocks are cut from.

const EMPTY = Buffer.alloc(0);
/** Smallest buffer of our own, bytes: a peer that sends single bytes must not cost an allocation for each. */
const SMALLEST = 4096;

/**
 * Bytes in the order of their arrival. A chunk that arrives when nothing is held is adopted without a copy, so it must
 * not be changed afterwards; what is taken is a view that is never written to again. Every byte is copied a bounded
 * number of times whatever the chunking, and at most about twice what is held is allocated.
 */
export class ByteQueue {
  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;

  /** Bytes held. */
  get length(): number {
    return this.#end - this.#start;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    if (this.length === 0) {
      this.#buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    // An adopted chunk has no room behind its end, so only a buffer of our own is ever written to.
    if (this.#end + chunk.length > this.#buffer.length) this.#move(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** To a new buffer, never within the old one: views of it are in other hands. */
  #move(more: number): void {
    const held = this.length;
    const bigger = Buffer.allocUnsafeSlow(Math.max(SMALLEST, 2 * (held + more)));
    bigger.set(this.#buffer.subarray(this.#start, this.#end));
    this.#buffer = bigger;
    this.#start = 0;
    this.#end = held;
  }

  /** The little-endian u32 that begins at byte `at`, or undefined if its four bytes are not all there. */
  u32(at: number): number | undefined {
    return this.length < at + 4 ? undefined : this.#buffer.readUInt32LE(this.#start + at);
  }

  /** Drops `skip` bytes and takes the `length` bytes behind them; both must be there. */
  take(skip: number, length: number): Buffer {
    const from = this.#start + skip;
    const taken = this.#buffer.subarray(from, from + length);
    this.#start = from + length;
    if (this.#start === this.#end) {
      this.#buffer = EMPTY;
      this.#start = 0;
      this.#end = 0;
    }
    return taken;
  }
}
