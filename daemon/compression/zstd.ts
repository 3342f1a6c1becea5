// Compresses plain bytes to blocks and decompresses them, with the package zstd-napi, or where it does not load with Node's own zstd. Where
// there is neither, only the failure of the first answer is possible.
import { createRequire } from 'node:module';
import type * as Binding from 'zstd-napi/binding.js';
import { Failure, textOf } from '../base/failure.ts';
import { BLOCK_BYTES, chunkOf } from '../base/streams/blocks.ts';
import { fail } from '../errors/fail.ts';
import type { Pieces, Zstd } from './codec.ts';
import { nodeZstd } from './node-zstd.ts';
import { rawFrames } from './raw-frames.ts';
import {
  BLOCK_HEADER_BYTES,
  compressBound,
  MAX_WRITTEN_BYTES,
  writeBlockHeader,
  type Block,
} from './block.ts';

const LEVEL = 1;
/** Most plain bytes that one call decodes: a larger block is decoded in pieces, each when the reader wants it. */
const PIECE_BYTES = BLOCK_BYTES;
/** Contexts for blocks in pieces. Further large blocks are decoded whole. */
const MAX_PIECE_CONTEXTS = 16;
/** Largest window of a frame that is decoded in pieces: 2 MiB, which zstd allocates. Frames of level 1 have 512 KiB. */
const MAX_WINDOW_LOG = 21;

// Loaded at once, because an upgrade of the package removes its files while an engine runs.
const { used, problem } = load();

function load(): { readonly used: Zstd; readonly problem?: Failure } {
  try {
    return { used: packaged(createRequire(import.meta.filename)('zstd-napi/binding.js') as typeof Binding) };
  } catch (error) {
    const ofNode = nodeZstd(LEVEL);
    if (ofNode !== undefined) return { used: ofNode };
    const lack = fail('zstd_unavailable', { why: textOf(error), version: process.version });
    return { used: rawFrames(lack), problem: lack };
  }
}

function packaged(binding: typeof Binding): Zstd {
  // One context of each kind per process: every call is self-contained, so no data passes from one stream to another. A context
  // per stream or block costs 5 to 20 times more, and the garbage collector does not see the memory of unused ones.
  const [compressor, decompressor] = [new binding.CCtx(), new binding.DCtx()];
  return {
    compress: (target, plain) => compressor.compress(target, plain, LEVEL),
    decompress: (target, compressed) => decompressor.decompress(target, compressed),
    contentSize: (compressed) => binding.getFrameContentSize(compressed),
    makePieces: () => {
      const context = new binding.DCtx();
      context.setParameter(binding.DParameter.windowLogMax, MAX_WINDOW_LOG);
      return {
        step: (target, compressed) => {
          const [left, produced, consumed] = context.decompressStream(target, compressed);
          return { left, produced, consumed };
        },
        reset: () => {
          context.reset(binding.ResetDirective.sessionOnly);
        },
      };
    },
  };
}

/** Why nothing can be decompressed; undefined when there is a zstd. A `BlockDecoder` throws it. */
export const zstdProblem: Failure | undefined = problem;

const scratch = Buffer.allocUnsafeSlow(BLOCK_HEADER_BYTES + compressBound(MAX_WRITTEN_BYTES));
const scratchBody = scratch.subarray(BLOCK_HEADER_BYTES);

/** A whole block, its header included. `plain`: 1 to MAX_WRITTEN_BYTES bytes. */
export function encodeBlock(plain: Uint8Array): Buffer {
  if (plain.length === 0 || plain.length > MAX_WRITTEN_BYTES)
    throw fail('internal', { why: `a block of ${plain.length} bytes` });
  const length = used.compress(scratchBody, plain);
  writeBlockHeader(scratch, length, plain.length);
  return Buffer.from(scratch.subarray(0, BLOCK_HEADER_BYTES + length));
}

/** The contexts for blocks in pieces that no block uses. */
const freeContexts: Pieces[] = [];
let contexts = 0;

function takeContext(): Pieces | undefined {
  const free = freeContexts.pop();
  if (free !== undefined || contexts === MAX_PIECE_CONTEXTS) return free;
  const made = used.makePieces?.();
  if (made !== undefined) contexts += 1;
  return made;
}

/**
 * The plain bytes of one block, piece by piece. Together they must be exactly as many as the block claims, else `next` throws
 * `block_invalid`. The size in zstd's header is compared first, and a claim allocates nothing. Lifecycle: decoding -> over (all
 * pieces taken, an error, or `close`).
 */
export class BlockDecoder {
  readonly #claimed: number;
  #context: Pieces | undefined;
  #compressed: Uint8Array;
  #produced = 0;
  #frameOver = false;

  constructor({ compressed, uncompressedLength }: Block) {
    this.#compressed = compressed;
    this.#claimed = uncompressedLength;
    const stated = zstd(() => used.contentSize(compressed));
    if (stated !== null && stated !== uncompressedLength)
      throw fail('block_invalid', { why: `it claims ${uncompressedLength} bytes, zstd's header ${stated}` });
    if (uncompressedLength > PIECE_BYTES) this.#context = takeContext();
  }

  /** True when all bytes have been returned. */
  get over(): boolean {
    return this.#produced === this.#claimed;
  }

  /** The next piece; not to be called when all bytes have been returned. */
  next(): Buffer {
    try {
      const context = this.#context;
      const plain = context === undefined ? this.#whole() : this.#piece(context);
      if (this.over) this.close();
      return plain;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives the context back. The remaining pieces cannot be decoded then. */
  close(): void {
    const context = this.#context;
    this.#context = undefined;
    if (context === undefined) return;
    context.reset();
    freeContexts.push(context);
  }

  #whole(): Buffer {
    const plain = this.#claimed > PIECE_BYTES ? Buffer.allocUnsafe(this.#claimed) : chunkOf(this.#claimed);
    const length = zstd(() => used.decompress(plain, this.#compressed));
    if (length !== this.#claimed) throw this.#wrongLength(length);
    this.#produced = length;
    return plain;
  }

  #piece(context: Pieces): Buffer {
    const plain = chunkOf(Math.min(PIECE_BYTES, this.#claimed - this.#produced));
    let filled = 0;
    while (filled < plain.length) filled += this.#step(context, plain.subarray(filled));
    this.#produced += filled;
    // The frame may end in bytes that give nothing: a checksum, or an empty block.
    while (this.over && !(this.#frameOver && this.#compressed.length === 0))
      if (this.#step(context, Buffer.alloc(1)) > 0) throw this.#wrongLength(this.#produced + 1);
    return plain;
  }

  /** Decodes into `target` and returns how many bytes. Throws when it comes to the end of the frame, or cannot go on. */
  #step(context: Pieces, target: Uint8Array): number {
    const { left, produced, consumed } = zstd(() => context.step(target, this.#compressed));
    this.#compressed = this.#compressed.subarray(consumed);
    this.#frameOver = left === 0;
    if (produced === 0 && consumed === 0) throw this.#wrongLength(this.#produced);
    return produced;
  }

  #wrongLength(length: number): Error {
    return fail('block_invalid', { why: `it claims ${this.#claimed} bytes and holds ${length}` });
  }
}

function zstd<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw fail('block_invalid', { why: textOf(error) }, error);
  }
}
