// Blocks of the transport compression: u32 LE compressed length, u32 LE uncompressed length, one zstd frame (docs/bmux-protocol.md, "Compression").
import { ByteQueue } from '../bmux-ipc/byte-queue.ts';
import { fail } from '../errors/fail.ts';

export const BLOCK_HEADER_BYTES = 8;

/** Most bytes that we put into one block: about 0.15 ms of compression on the main thread, and no bound of a peer is near it. */
export const MAX_WRITTEN_BYTES = 64 * 1024;

/**
 * Most uncompressed bytes that a peer's block may claim. A real gateway puts everything that it could read before a pause
 * into one block: up to 1,040,384 bytes (127 reads of 8 KiB) measured with 0.0.1-alpha.4 under a flood, but nothing on the
 * wire promises that. Twice the largest frame leaves room for other builds, and is what one stream may make us allocate.
 */
export const MAX_UNCOMPRESSED_BYTES = 16 * 1024 * 1024;

/** ZSTD_compressBound: the most bytes that zstd makes of `length` bytes. */
export function compressBound(length: number): number {
  const small = 128 * 1024;
  return length + Math.floor(length / 256) + (length < small ? Math.floor((small - length) / 2048) : 0);
}

/** Most compressed bytes that a peer's block may claim. */
export const MAX_COMPRESSED_BYTES = compressBound(MAX_UNCOMPRESSED_BYTES);

/** A block as it came: `compressed` is a view. */
export interface Block {
  readonly compressed: Uint8Array;
  /** The peer's claim, bytes; at least 1 and within the bound. */
  readonly uncompressedLength: number;
}

/** Writes a block's header to the start of `target`. */
export function writeBlockHeader(target: Buffer, compressedLength: number, uncompressedLength: number): void {
  target.writeUInt32LE(compressedLength, 0);
  target.writeUInt32LE(uncompressedLength, 4);
}

/**
 * Cuts a stream of bytes into blocks. Both lengths are claims of the peer: they are checked as soon as their bytes are
 * there, and nothing is allocated for a claim. Throws `block_too_large` and, for an empty block, `block_invalid`: the
 * real peers die of one, so none sends it, and a stream of them would be work without an end.
 */
export class BlockReader {
  readonly #queue = new ByteQueue();

  /** True between blocks: the only place where a stream may end. */
  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** True when `next` has a block to give, or something to throw. */
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
