// The zstd of Node itself, which it has from 22.15 and 23.8 on: for where the package zstd-napi does not load. It makes a context for each
// block, which takes some 0.2 ms more.
import * as zlib from 'node:zlib';
import type { Zstd } from './codec.ts';

/** What is used of newer versions of Node; their types are not those of the oldest one that bmuxd runs on. */
interface NodeZstd {
  zstdCompressSync(plain: Uint8Array, options: object): Buffer;
  zstdDecompressSync(compressed: Uint8Array, options: object): Buffer;
  readonly constants: Readonly<Record<string, number>>;
}

/** Log2 of the largest window of a frame: that of the largest block. */
const MAX_WINDOW_LOG = 24;
/** The first four bytes of a frame. */
export const MAGIC = 0xfd2fb528;
const BLOCK_HEADER = 3;
const RAW_LENGTH_OF_RLE = 1;

/** Undefined where this Node has no zstd. */
export function nodeZstd(level: number, node: object = zlib): Zstd | undefined {
  if (!hasZstd(node)) return undefined;
  const { constants } = node;
  const compression = { params: { [named(constants, 'ZSTD_c_compressionLevel')]: level } };
  const windowLogMax = named(constants, 'ZSTD_d_windowLogMax');
  return {
    compress: (target, plain) => {
      const compressed = node.zstdCompressSync(plain, compression);
      target.set(compressed);
      return compressed.length;
    },
    decompress: (target, compressed) => {
      // Node ignores bytes after a frame, and some versions a frame that is cut.
      if (frameLengthOf(compressed) !== compressed.length) throw new Error('not one whole frame');
      const plain = node.zstdDecompressSync(compressed, {
        params: { [windowLogMax]: MAX_WINDOW_LOG },
        maxOutputLength: target.length,
        chunkSize: Math.max(target.length, 64),
      });
      target.set(plain);
      return plain.length;
    },
    contentSize: (compressed) => headerOf(compressed).contentSize,
  };
}

function hasZstd(node: object): node is NodeZstd {
  return 'zstdCompressSync' in node && 'zstdDecompressSync' in node && 'constants' in node;
}

function named(constants: Readonly<Record<string, number>>, name: string): number {
  const value = constants[name];
  if (value === undefined) throw new Error(`this Node has no ${name}`);
  return value;
}

/** Bytes of the frame at the beginning, RFC 8878, section 3.1.1. Throws when it is not whole. */
function frameLengthOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length, hasChecksum } = headerOf(bytes);
  let at = length;
  for (;;) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const size = header >>> 3;
    const isRle = ((header >>> 1) & 3) === 1;
    at += BLOCK_HEADER + (isRle ? RAW_LENGTH_OF_RLE : size);
    if ((header & 1) === 1) return hasChecksum ? at + 4 : at;
  }
}

interface FrameHeader {
  readonly length: number;
  readonly hasChecksum: boolean;
  /** Bytes of the content; null when the frame does not say it. */
  readonly contentSize: number | null;
}

/** The header of a frame, RFC 8878, section 3.1.1.1. Throws for what is none. */
export function headerOf(bytes: Uint8Array): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw new Error('not a zstd frame');
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  const sizeFlag = descriptor >>> 6;
  const hasChecksum = (descriptor & 4) !== 0;
  switch (sizeFlag) {
    case 0:
      return isSingleSegment
        ? { length: at + 1, hasChecksum, contentSize: view.getUint8(at) }
        : { length: at, hasChecksum, contentSize: null };
    case 1:
      return { length: at + 2, hasChecksum, contentSize: view.getUint16(at, true) + 256 };
    case 2:
      return { length: at + 4, hasChecksum, contentSize: view.getUint32(at, true) };
    default:
      return { length: at + 8, hasChecksum, contentSize: Number(view.getBigUint64(at, true)) };
  }
}
