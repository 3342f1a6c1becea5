// Blocks of memory that are used again for received data: memory that waits for garbage collection is most of what a busy engine takes.

/** Bytes of a block: the most that libuv reads at once. */
export const BLOCK_BYTES = 64 * 1024;
/** Maximum number of free blocks of all streams together: 1 MiB. */
const FREE_MAX = 16;

/** Holds one or more chunks of received data. */
export interface Block {
  readonly bytes: Buffer;
  /** Number of chunks that have not been given back. */
  lent: number;
  /** True when no more chunks go into it. */
  full: boolean;
}

const free: Block[] = [];
const blocks = new WeakMap<ArrayBufferLike, Block>();

export function takeBlock(): Block {
  const known = free.pop();
  if (known !== undefined) {
    known.full = false;
    return known;
  }
  const block: Block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), lent: 0, full: false };
  blocks.set(block.bytes.buffer, block);
  return block;
}

/** Keeps the block for other data when none of its chunks is in use. */
export function reuse(block: Block): void {
  if (block.full && block.lent === 0 && free.length < FREE_MAX) free.push(block);
}

/** Memory of at most `BLOCK_BYTES` for one chunk. Its last reader may call `giveBack`. */
export function chunkOf(bytes: number): Buffer {
  if (bytes < BLOCK_BYTES / 2) return Buffer.allocUnsafe(bytes);
  const block = takeBlock();
  block.lent = 1;
  block.full = true;
  return block.bytes.subarray(0, bytes);
}

/**
 * Gives the memory of `chunk` back for other data, if it is part of a block. Call it once, as the last reader: for example in the write
 * callback. A chunk that is not given back is garbage-collected as usual.
 */
export function giveBack(chunk: Uint8Array): void {
  const block = blocks.get(chunk.buffer);
  if (block === undefined) return;
  block.lent -= 1;
  reuse(block);
}
