// Compresses plain bytes to blocks and decompresses them. The only file that calls zstd.
import binding from 'zstd-napi/binding.js';
import { textOf } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import {
  BLOCK_HEADER_BYTES,
  compressBound,
  MAX_WRITTEN_BYTES,
  writeBlockHeader,
  type Block,
} from './block.ts';

const LEVEL = 1;

// One context of each kind per process: every call is self-contained, so no data passes from one stream to another. A context
// per stream or block costs 5 to 20 times more, and the garbage collector does not see the memory of unused ones.
const compressor = new binding.CCtx();
const decompressor = new binding.DCtx();
const scratch = Buffer.allocUnsafeSlow(BLOCK_HEADER_BYTES + compressBound(MAX_WRITTEN_BYTES));
const scratchBody = scratch.subarray(BLOCK_HEADER_BYTES);

/** A whole block, its header included. `plain`: 1 to MAX_WRITTEN_BYTES bytes. */
export function encodeBlock(plain: Uint8Array): Buffer {
  if (plain.length === 0 || plain.length > MAX_WRITTEN_BYTES)
    throw fail('internal', { why: `a block of ${plain.length} bytes` });
  const length = compressor.compress(scratchBody, plain, LEVEL);
  writeBlockHeader(scratch, length, plain.length);
  return Buffer.from(scratch.subarray(0, BLOCK_HEADER_BYTES + length));
}

/**
 * The plain bytes of a block: exactly as many as it claims, else it throws `block_invalid`. The size in zstd's header is
 * compared before anything is allocated, and zstd never writes past the buffer, so a decompression bomb allocates nothing.
 */
export function decodeBlock(block: Block): Buffer {
  const claimed = block.uncompressedLength;
  const stated = zstd(() => binding.getFrameContentSize(block.compressed));
  if (stated !== null && stated !== claimed)
    throw fail('block_invalid', { why: `it claims ${claimed} bytes, zstd's header ${stated}` });
  const plain = Buffer.allocUnsafe(claimed);
  const length = zstd(() => decompressor.decompress(plain, block.compressed));
  if (length !== claimed)
    throw fail('block_invalid', { why: `it claims ${claimed} bytes and holds ${length}` });
  return plain;
}

function zstd<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fail('block_invalid', { why: textOf(error) }, error);
  }
}
