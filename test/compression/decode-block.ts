// Decodes a whole block in one call.
import type { Block } from '../../daemon/compression/block.ts';
import { BlockDecoder } from '../../daemon/compression/zstd.ts';

/** The plain bytes of a block. Throws `block_invalid`. */
export function decodeBlock(block: Block): Buffer {
  const decoder = new BlockDecoder(block);
  const pieces: Buffer[] = [];
  while (!decoder.over) pieces.push(decoder.next());
  return Buffer.concat(pieces);
}
