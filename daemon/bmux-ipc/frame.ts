// Frames: a little-endian u32 with the length of the payload, then the payload (docs/bmux-protocol.md, "Framing").
import { ByteQueue } from './byte-queue.ts';
import { fail } from '../errors/fail.ts';

/** Largest payload of a frame, bytes: docs/bmux-protocol.md, "Framing". */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;
/** Bytes of the length before the payload. */
export const FRAME_HEADER_BYTES = 4;

/** A frame: the length, then the payload. Throws `frame_too_large`. */
export function encodeFrame(payload: Uint8Array): Buffer {
  if (payload.length > MAX_PAYLOAD_BYTES) throw tooLarge(payload.length);
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

function tooLarge(length: number, limit = MAX_PAYLOAD_BYTES): Error {
  return fail('frame_too_large', { length, limit });
}

/**
 * Cuts a stream of bytes into payloads. A length over the limit is refused as soon as its four bytes have arrived. If the
 * caller takes every payload before the next push, at most one frame and the chunk that completed it are held.
 */
export class FrameReader {
  readonly #queue = new ByteQueue();
  readonly #limit: number;

  /** `limit`: largest payload, bytes; less than the protocol allows where only a short frame can be right. */
  constructor(limit: number = MAX_PAYLOAD_BYTES) {
    this.#limit = limit;
  }

  /** Adds a chunk, which must not be changed afterwards. Throws `frame_too_large`. */
  push(chunk: Uint8Array): void {
    this.#queue.push(chunk);
    this.#length();
  }

  #length(): number | undefined {
    const length = this.#queue.u32(0);
    if (length !== undefined && length > this.#limit) throw tooLarge(length, this.#limit);
    return length;
  }

  /** The next complete payload, without its length; undefined until there is one. Throws `frame_too_large`. */
  next(): Uint8Array | undefined {
    const length = this.#length();
    if (length === undefined || this.#queue.length < FRAME_HEADER_BYTES + length) return undefined;
    return this.#queue.take(FRAME_HEADER_BYTES, length);
  }

  /** Takes the bytes after the last payload; they belong to the next reader of the stream. */
  rest(): Buffer {
    return this.#queue.take(0, this.#queue.length);
  }
}
