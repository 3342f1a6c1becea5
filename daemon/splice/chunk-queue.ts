// The bytes that wait for a reader, in the order of their arrival. Small chunks share memory, so that the queue costs about its bytes.

/** A chunk below this size is copied to others. */
const SMALL_BYTES = 4096;
/** Memory that small chunks share. */
const SHARED_BYTES = 16 * 1024;

export class ChunkQueue {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** The memory of the last chunk, while small chunks can be added to it. */
  #shared: Buffer | undefined;
  #used = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of memory that the queue holds. */
  get cost(): number {
    return this.#shared === undefined ? this.#bytes : this.#bytes + SHARED_BYTES - this.#used;
  }

  get empty(): boolean {
    return this.#chunks.length === 0;
  }

  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (chunk.length < SMALL_BYTES && this.#chunks.length > 0) this.#add(chunk);
    else {
      this.#chunks.push(chunk);
      this.#shared = undefined;
    }
  }

  /** Takes the first chunks: at least one, and no more once they hold `bytes`. */
  take(bytes: number): Buffer[] {
    let count = 0;
    let taken = 0;
    for (const chunk of this.#chunks) {
      if (taken >= bytes) break;
      taken += chunk.length;
      count += 1;
    }
    this.#bytes -= taken;
    if (count === this.#chunks.length) this.#shared = undefined;
    return this.#chunks.splice(0, count);
  }

  clear(): void {
    this.take(Infinity);
  }

  #add(chunk: Buffer): void {
    if (this.#shared === undefined || this.#used + chunk.length > SHARED_BYTES) {
      this.#shared = Buffer.allocUnsafeSlow(SHARED_BYTES);
      this.#used = 0;
      this.#chunks.push(this.#shared);
    }
    chunk.copy(this.#shared, this.#used);
    this.#used += chunk.length;
    this.#chunks[this.#chunks.length - 1] = this.#shared.subarray(0, this.#used);
  }
}
