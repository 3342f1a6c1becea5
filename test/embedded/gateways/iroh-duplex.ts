// A bidirectional stream of the iroh binding as a Duplex, for the host's side. A reset or a lost connection is an error, never an end. It is
// separate from the daemon's adapter on purpose, so that the two do not share a mistake.
import { Duplex } from 'node:stream';
import type { BiStream } from '@number0/iroh/index.js';

/** Pieces of 16 KiB avoid long blocking of the event loop: the binding converts every byte to an object. */
const PIECE_BYTES = 16 * 1024;

/** The binding takes only arrays of numbers. `scratch` is reused, since a new array costs thirty times more. */
export function byteArray(bytes: Uint8Array, scratch: number[] = []): number[] {
  scratch.length = bytes.length;
  for (let i = 0; i < bytes.length; i += 1) scratch[i] = bytes[i] ?? 0;
  return scratch;
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

export class IrohDuplex extends Duplex {
  readonly #send: BiStream['send'];
  readonly #recv: BiStream['recv'];
  readonly #scratch: number[] = [];

  constructor(stream: BiStream) {
    super({ allowHalfOpen: true, readableHighWaterMark: PIECE_BYTES, writableHighWaterMark: PIECE_BYTES });
    this.#send = stream.send;
    this.#recv = stream.recv;
  }

  override _read(): void {
    this.#recv.read(PIECE_BYTES).then(
      (bytes) => this.push(bytes.length === 0 ? null : Buffer.from(bytes)),
      (error: unknown) => this.destroy(asError(error)),
    );
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, settle: (error?: Error | null) => void): void {
    this.#pieces(chunk).then(
      () => settle(),
      (error: unknown) => settle(asError(error)),
    );
  }

  async #pieces(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES)
      await this.#send.writeAll(byteArray(chunk.subarray(at, at + PIECE_BYTES), this.#scratch));
  }

  override _final(settle: (error?: Error | null) => void): void {
    this.#send.finish().then(
      () => settle(),
      (error: unknown) => settle(asError(error)),
    );
  }

  /** Closes like a dropped Rust stream: finish and stop. Both may wait behind a pending read or write for ever. */
  override _destroy(error: Error | null, settle: (error?: Error | null) => void): void {
    this.#send.finish().catch(() => undefined);
    this.#recv.stop(0n).catch(() => undefined);
    settle(error);
  }
}
