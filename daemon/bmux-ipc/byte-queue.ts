// A queue of received bytes that are not consumed yet. Frames and blocks are cut from it.

const EMPTY = Buffer.alloc(0);
/** Smallest buffer that the queue allocates, bytes: a peer that sends single bytes must not cause an allocation for each. */
const SMALLEST = 4096;

/**
 * Bytes in the order of their arrival. A chunk pushed to an empty queue is adopted without a copy, so the caller must not
 * change it afterwards. `take` returns a view that is never written to again. Every byte is copied a bounded number of
 * times, whatever the sizes of the chunks. The queue allocates at most about twice the bytes that it holds.
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
    // An adopted chunk has no room behind its end, so the queue writes only to buffers that it allocated.
    if (this.#end + chunk.length > this.#buffer.length) this.#move(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** Copies the bytes to a new buffer; callers hold views of the old one, so it must not change. */
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

  /** Drops `skip` bytes and returns the next `length` bytes; the queue must hold both. */
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
