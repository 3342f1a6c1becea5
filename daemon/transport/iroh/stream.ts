// One bidirectional iroh stream as a Duplex. It always ends gracefully: a reset costs the server behind a real gateway one connection.
import { Duplex } from 'node:stream';
import { drainAfterWriteError } from '../../base/streams/drain-after-write-error.ts';
import { DISCARDS } from '../../base/streams/discards.ts';
import { LIMITS } from '../../base/limits.ts';
import { LARGE_BYTES, LARGE_READS } from './large-reads.ts';
import { irohError, PIECE, readRaw, type ByteArrays, type RawReceive, type RawSend } from './binding.ts';

/** Most bytes that are read after a stream was destroyed: what the peer may still have sent. One that sends more does not end. */
const MAX_DISCARDED_BYTES = 256 * 1024;
/** Bytes between two turns. A byte of the binding takes much more time than one of a socket. */
const TURN_BYTES = 2 * PIECE;
/** ms that what was written stays without an answer before the peer is asked whether it is there; twice as long for each time after that. */
const OVERDUE_MS = 5500;

type Done = (error?: Error | null) => void;

/** The parts of a stream. */
export interface IrohStreamParts {
  readonly send: Pick<RawSend, 'writeAll' | 'finish'>;
  readonly receive: Pick<RawReceive, 'read' | 'stop'>;
  readonly arrays: ByteArrays;
  /** How long a destroyed stream waits for the peer's end, ms. */
  readonly endMs?: number;
}

/**
 * A Duplex over a bidirectional stream. `end()` finishes the send side, the peer's finish ends reading, and back-pressure works both ways.
 * `destroy()` finishes the send side and reads on in the background; `released` resolves when both are done.
 */
export class IrohStream extends Duplex {
  readonly #parts: IrohStreamParts;
  /** Resolves once both sides are done, or after the time limit for the peer's end; never rejects. */
  readonly released: Promise<void>;
  readonly #release: () => void;
  #reading: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #finished = false;
  #peerEnded = false;
  /** The last read has brought much. */
  #isLarge = false;
  /** When the first bytes were written since something was last read (performance.now()), and after how many ms of that the peer is asked. */
  #unanswered: { readonly since: number; patienceMs: number } | undefined;

  constructor(parts: IrohStreamParts) {
    super({ allowHalfOpen: true, readableHighWaterMark: 2 * PIECE, writableHighWaterMark: 2 * PIECE });
    this.#parts = parts;
    let release: () => void = () => undefined;
    this.released = new Promise((resolve) => {
      release = resolve;
    });
    this.#release = release;
    // This listener keeps an error from ending the process while no owner listens; 'close' follows it.
    this.on('error', () => undefined);
    // A host that has ended its answer stops our send side (RFC 9000 §3.5). The stop can be noticed before the answer is read.
    drainAfterWriteError(this, LIMITS.lingerMs);
  }

  override _read(): void {
    if (this.#reading !== undefined || this.#peerEnded) return;
    this.#reading = this.#readPiece().then(
      (bytes) => {
        this.#reading = undefined;
        if (bytes === undefined) this.#peerEnded = true;
        if (!this.destroyed) this.push(bytes ?? null);
      },
      (error: unknown) => {
        this.#reading = undefined;
        this.#peerEnded = true;
        this.destroy(irohError(error));
      },
    );
  }

  /** Reads a piece; undefined at the end of the stream. After a large one it waits for its turn. */
  async #readPiece(): Promise<Buffer | undefined> {
    const endTurn = this.#isLarge ? await LARGE_READS.next() : undefined;
    try {
      const bytes = await readRaw(this.#parts.receive);
      this.#isLarge = bytes !== undefined && bytes.length >= LARGE_BYTES;
      this.#unanswered = undefined;
      return bytes;
    } finally {
      endTurn?.();
    }
  }

  /** True when what was written has had no answer for long; the next time after twice as long. */
  takeOverdue(): boolean {
    const unanswered = this.#unanswered;
    if (unanswered === undefined || performance.now() - unanswered.since < unanswered.patienceMs)
      return false;
    unanswered.patienceMs *= 2;
    return true;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#unanswered ??= { since: performance.now(), patienceMs: OVERDUE_MS };
    this.#writing = this.#writeAll(chunk, done);
  }

  async #writeAll(chunk: Buffer, done: Done): Promise<void> {
    try {
      for (let at = 0; at < chunk.length && !this.destroyed; at += PIECE) {
        await this.#parts.arrays.write(this.#parts.send, chunk.subarray(at, at + PIECE));
      }
    } catch (error) {
      this.#finished = true;
      done(writeError(error));
      return;
    }
    done();
  }

  override _final(done: Done): void {
    void this.#finishThen(done);
  }

  async #finishThen(done: Done): Promise<void> {
    try {
      await this.#finish();
    } catch (error) {
      done(writeError(error));
      return;
    }
    done();
  }

  async #finish(): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    await this.#parts.send.finish();
  }

  override _destroy(error: Error | null, done: Done): void {
    done(error);
    this.#endInBackground().then(this.#release, this.#release);
  }

  /** Finishes the send side and reads to the peer's end in the background, with a time limit. */
  async #endInBackground(): Promise<void> {
    let isOver = false;
    let giveUp = (): void => undefined;
    const bound = new Promise<void>((resolve) => {
      giveUp = () => {
        isOver = true;
        resolve();
      };
    });
    const timer = setTimeout(giveUp, this.#parts.endMs ?? LIMITS.endMs);
    timer.unref();
    // A pending write holds the lock of the send side, so finish after it.
    const sent = this.#writing.then(() => this.#finish()).catch(() => undefined);
    const read = (async (): Promise<void> => {
      await this.#reading;
      let discarded = 0;
      let sinceTurn = 0;
      while (!this.#peerEnded && !isOver) {
        const bytes = await this.#readPiece();
        this.#peerEnded = bytes === undefined;
        discarded += bytes?.length ?? 0;
        sinceTurn += bytes?.length ?? 0;
        if (discarded > MAX_DISCARDED_BYTES) giveUp();
        if (sinceTurn < TURN_BYTES) continue;
        sinceTurn = 0;
        await new Promise<void>((resolve) => DISCARDS.next(resolve));
      }
    })().catch(() => {
      this.#peerEnded = true;
    });
    await Promise.race([Promise.all([sent, read]), bound]);
    clearTimeout(timer);
    if (!isOver) return;
    // The peer did not end in time, or sends on: stop its sending. Behind a pending read this waits until the connection closes, which is harmless.
    await this.#parts.receive.stop(0n).catch(() => undefined);
  }
}

/** Whether the peer stopped only this side or is lost is found by reading. */
function writeError(error: unknown): Error {
  return Object.assign(irohError(error), { code: 'EPIPE' });
}
