// Blocks of the transport compression: u32 LE compressed length, u32 LE uncompressed length, one zstd frame (docs/bmux-protocol.md, "Compression").
import { ByteQueue } from '../bmux-ipc/byte-queue.ts';
import { fail } from '../errors/fail.ts';

export const BLOCK_HEADER_BYTES = 8;

/** Most bytes that bmuxd puts into one block: about 0.15 ms of compression on the main thread, and far below the limit of any peer. */
export const MAX_WRITTEN_BYTES = 64 * 1024;

/**
 * Most uncompressed bytes that a peer's block may claim. A real gateway puts everything that it could read before a pause
 * into one block: up to 1,040,384 bytes (127 reads of 8 KiB) measured with 0.0.1-alpha.4 under a flood. The protocol sets no
 * limit. Twice the largest frame leaves room for other builds, and bounds what one stream can make bmuxd allocate.
 */
export const MAX_UNCOMPRESSED_BYTES = 16 * 1024 * 1024;

/** ZSTD_compressBound: the largest compressed size of `length` bytes. */
export function compressBound(length: number): number {
  const small = 128 * 1024;
  return length + Math.floor(length / 256) + (length < small ? Math.floor((small - length) / 2048) : 0);
}

/** Most compressed bytes that a peer's block may claim. */
export const MAX_COMPRESSED_BYTES = compressBound(MAX_UNCOMPRESSED_BYTES);

/** A received block; `compressed` is a view. */
export interface Block {
  readonly compressed: Uint8Array;
  /** Claimed by the peer, bytes; at least 1 and within the limit. */
  readonly uncompressedLength: number;
}

/** Writes a block's header to the start of `target`. */
export function writeBlockHeader(target: Buffer, compressedLength: number, uncompressedLength: number): void {
  target.writeUInt32LE(compressedLength, 0);
  target.writeUInt32LE(uncompressedLength, 4);
}

/**
 * Cuts a stream of bytes into blocks. Both lengths are claimed by the peer, so they are checked as soon as they have arrived,
 * and a claim allocates nothing. Throws `block_too_large`, and `block_invalid` for an empty block: a flood of those would be
 * endless work, and real peers never send one, since they crash on it.
 */
export class BlockReader {
  readonly #queue = new ByteQueue();

  /** True between blocks; a stream may end only there. */
  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** True when `next` will return a block or throw. */
  get ready(): boolean {
    const length = this.#queue.u32(0);
    return length !== undefined && this.#queue.length >= BLOCK_HEADER_BYTES + length;
  }

  /** Adds a chunk, which must not be changed afterwards. */
  push(chunk: Uint8Array): void {
    this.#queue.push(chunk);
    this.#check(0, MAX_COMPRESSED_BYTES);
    this.#check(4, MAX_UNCOMPRESSED_BYTES);
  }

  #check(at: number, limit: number): number | undefined {
    const length = this.#queue.u32(at);
    if (length === 0) throw fail('block_invalid', { why: 'it is empty' });
    if (length !== undefined && length > limit) throw fail('block_too_large', { length, limit });
    return length;
  }

  /** The next complete block; undefined until there is one. Throws like `push`. */
  next(): Block | undefined {
    const length = this.#check(0, MAX_COMPRESSED_BYTES);
    const uncompressedLength = this.#check(4, MAX_UNCOMPRESSED_BYTES);
    if (length === undefined || uncompressedLength === undefined) return undefined;
    if (this.#queue.length < BLOCK_HEADER_BYTES + length) return undefined;
    return { compressed: this.#queue.take(BLOCK_HEADER_BYTES, length), uncompressedLength };
  }
}
