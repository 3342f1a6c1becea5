// What can be said to a gateway that compresses where no zstd loads: frames that hold their bytes as they are. So the answer to a Hello shows
// that the gateway compresses. It cannot be read, and the failure says why.
import type { Failure } from '../base/failure.ts';
import type { Zstd } from './codec.ts';
import { headerOf, MAGIC } from './node-zstd.ts';

/** One segment, whose size has four bytes: RFC 8878, section 3.1.1.1.1. */
const DESCRIPTOR = 0xa0;
const HEADER_BYTES = 9;
/** The last block of a frame, of type raw: RFC 8878, section 3.1.1.2. */
const LAST_RAW_BLOCK = 1;
const BLOCK_HEADER_BYTES = 3;

/** `problem`: the failure with which each frame of the gateway is refused. */
export function rawFrames(problem: Failure): Zstd {
  return {
    compress: (target, plain) => {
      const head = Buffer.alloc(HEADER_BYTES + BLOCK_HEADER_BYTES);
      head.writeUInt32LE(MAGIC, 0);
      head.writeUInt8(DESCRIPTOR, 4);
      head.writeUInt32LE(plain.length, 5);
      head.writeUIntLE((plain.length << 3) | LAST_RAW_BLOCK, HEADER_BYTES, BLOCK_HEADER_BYTES);
      target.set(head);
      target.set(plain, head.length);
      return head.length + plain.length;
    },
    decompress: () => {
      throw problem;
    },
    contentSize: (compressed) => headerOf(compressed).contentSize,
  };
}
