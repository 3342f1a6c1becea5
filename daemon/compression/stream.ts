// A stream of plain bytes over a stream of blocks: writes are compressed, reads are decompressed (docs/bmux-protocol.md, "Compression").
import { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { StreamTurns } from '../base/async/turn.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { asFailure, fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { BlockReader, MAX_WRITTEN_BYTES } from './block.ts';
import { BlockDecoder, encodeBlock, zstdProblem } from './zstd.ts';

type Done = (error?: Error | null) => void;

/** Plain bytes that are decoded before other streams get a turn. */
const TURN_BYTES = 128 * 1024;
/** Bytes that the smallest block counts for: a flood of one-byte blocks takes as much time as large ones. */
const MIN_COST = 1024;

/**
 * Cuts queued chunks into the contents of blocks. Small chunks share a block, large ones are split; a chunk that makes a
 * block alone is not copied.
 */
function* portions(chunks: readonly Buffer[]): Generator<Buffer, void, void> {
  let gathered: Buffer[] = [];
  let size = 0;
  const gather = (): Buffer => {
    const [first, ...others] = gathered;
    const portion = first !== undefined && others.length === 0 ? first : Buffer.concat(gathered, size);
    gathered = [];
    size = 0;
    return portion;
  };
  for (let chunk of chunks) {
    while (chunk.length > 0) {
      const part = chunk.subarray(0, MAX_WRITTEN_BYTES - size);
      gathered.push(part);
      size += part.length;
      chunk = chunk.subarray(part.length);
      if (size === MAX_WRITTEN_BYTES) yield gather();
    }
  }
  if (size > 0) yield gather();
}

class CompressedStream extends Duplex {
  readonly #inner: Duplex;
  readonly #leave: (inner: Duplex) => void;
  readonly #blocks = new BlockReader();
  /** The block of which the reader has not got everything. */
  #decoder: BlockDecoder | undefined;
  #innerEnded = false;
  /** Error of the inner stream, kept until the reader has received the data that arrived before it. */
  #failed: Error | undefined;
  /** Stops the timeout of the reader. */
  #stopTimeout: () => void = () => undefined;
  /** The reader wants more: `_read` was called, and `push` has not returned false since. */
  #wanted = false;
  #pumping = false;
  /** Cost of the blocks that were decoded since other streams last got a turn. */
  #sinceTurn = 0;
  readonly #turns = new StreamTurns();
  /** Set while decoding waits, so that other streams get a turn; stops the waiting. */
  #turn: (() => void) | undefined;
  /** Continues writing when `inner` drains, or fails the write when this stream ends. */
  #waiting: Done | undefined;

  constructor(inner: Duplex, leave: (inner: Duplex) => void) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: MAX_WRITTEN_BYTES,
      writableHighWaterMark: MAX_WRITTEN_BYTES,
    });
    this.#inner = inner;
    this.#leave = leave;
    // Paused until this stream is read, so that back-pressure works from the first byte.
    inner.pause();
    this.#innerEnded = inner.readableEnded;
    inner.on('data', (chunk: Buffer) => {
      this.#attempt(() => {
        this.#blocks.push(chunk);
      });
      this.#pump();
    });
    inner.on('end', () => {
      this.#innerEnded = true;
      this.#pump();
    });
    inner.on('drain', () => {
      this.#resumeWriting();
    });
    inner.on('error', (error) => {
      this.#fail(error);
    });
    inner.on('close', () => {
      this.#onInnerClose();
    });
    if (inner.destroyed) this.destroy(inner.errored ?? undefined);
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#failed !== undefined) this.#waitForReader(this.#failed);
    this.#pump();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send(portions([chunk]), done);
  }

  override _writev(queued: { chunk: Buffer; encoding: BufferEncoding }[], done: Done): void {
    this.#send(portions(queued.map(({ chunk }) => chunk)), done);
  }

  override _final(done: Done): void {
    const ended = (error?: Error | null): void => {
      if (error && this.#inner.destroyed) this.#waiting = done;
      else done(error);
    };
    if (this.#inner.destroyed) this.#waiting = done;
    else if (this.#inner.writableFinished) done();
    else this.#inner.end(ended);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#stopTimeout();
    this.#turn?.();
    this.#decoder?.close();
    if (error !== null && error === zstdProblem) this.#leave(this.#inner);
    else this.#inner.destroy(error ?? undefined);
    this.#resumeWriting(error ?? cancelled());
    done(error);
  }

  /** The inner stream is destroyed, but the data in its buffer can still be read. */
  #fail(error: Error): void {
    if (this.destroyed) return;
    this.#failed = error;
    this.#attempt(() => {
      for (const chunk of takeBuffered(this.#inner)) this.#blocks.push(chunk);
    });
    if (this.destroyed) return;
    this.#waitForReader(error);
    this.#pump();
  }

  /** Restarts the timeout after which a reader that takes nothing is no longer waited for. */
  #waitForReader(error: Error): void {
    this.#stopTimeout();
    this.#stopTimeout = onSilence(LIMITS.lingerMs, () => this.destroy(error));
  }

  /** Runs a step on the peer's bytes; if it throws, this stream and the inner one are destroyed. */
  #attempt<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (error) {
      this.destroy(asFailure(error));
      return undefined;
    }
  }

  #next(): Buffer | undefined {
    const block = this.#decoder === undefined ? this.#blocks.next() : undefined;
    if (block !== undefined) this.#decoder = new BlockDecoder(block);
    const decoder = this.#decoder;
    if (decoder !== undefined) {
      const piece = decoder.next();
      if (decoder.over) this.#decoder = undefined;
      return piece;
    }
    if (this.#innerEnded && !this.#blocks.empty) throw fail('block_truncated');
    return undefined;
  }

  /** Pushes decoded pieces while the reader wants more, and not all at once: a chunk may hold many blocks, and each may be large. */
  #pump(): void {
    if (this.#pumping || this.#turn !== undefined) return;
    this.#pumping = true;
    try {
      while (this.#wanted && !this.destroyed) {
        if (this.#sinceTurn >= TURN_BYTES) {
          this.#giveTurn();
          return;
        }
        const plain = this.#attempt(() => this.#next());
        if (plain === undefined) break;
        this.#sinceTurn += Math.max(MIN_COST, plain.length);
        // Set before the push, because the reader may call `_read` during it.
        this.#wanted = false;
        if (this.push(plain)) this.#wanted = true;
      }
      if (this.destroyed) return;
      if (this.#failed === undefined) this.#regulate();
      else if (this.#decoder === undefined && !this.#blocks.ready) this.destroy(this.#failed);
    } finally {
      this.#pumping = false;
    }
  }

  /** Goes on in a later turn of the event loop. */
  #giveTurn(): void {
    if (!this.#innerEnded && this.#failed === undefined) this.#inner.pause();
    this.#turn = this.#turns.next(() => {
      this.#turn = undefined;
      this.#sinceTurn = 0;
      this.#pump();
    });
  }

  #regulate(): void {
    if (!this.#wanted) {
      if (!this.#innerEnded) this.#inner.pause();
    } else if (this.#innerEnded) {
      this.#wanted = false;
      this.push(null);
    } else if (this.#inner.isPaused()) {
      this.#inner.resume();
    }
  }

  #send(content: Generator<Buffer, void, void>, done: Done): void {
    for (;;) {
      // Not for-of: leaving that loop would end the generator and lose the remaining content.
      const portion = content.next();
      if (portion.done === true) {
        done();
        return;
      }
      if (this.#inner.destroyed) {
        // `inner` drains no more. The write fails when this stream ends, after the remaining data has been read.
        this.#waiting = done;
        return;
      }
      const block = encodeBlock(portion.value);
      if (this.#inner.writableEnded) {
        // `inner` gives the right error for a write after its end.
        this.#inner.write(block, done);
        return;
      }
      if (!this.#inner.write(block)) {
        this.#waiting = (error) => {
          if (error) done(error);
          else this.#send(content, done);
        };
        return;
      }
    }
  }

  #resumeWriting(error?: Error): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(error);
  }

  /** The inner stream may close after its end while blocks are still queued here for the reader: those must not be lost. */
  #onInnerClose(): void {
    if (this.#failed !== undefined) return;
    if (!this.#innerEnded || this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  }
}

/** The error that Node gives to a pending write. */
function cancelled(): Error {
  return Object.assign(new Error('the stream was destroyed before the write was done'), {
    code: 'ERR_STREAM_DESTROYED',
  });
}

/**
 * The plain side of `inner`, which carries blocks in both directions; the result owns it from then on. Every write is sent at
 * once; writes queued by back-pressure share blocks. `end()` ends `inner`, and a half-closed stream stays readable. An end of
 * `inner` between blocks is the end; inside a block it fails with `block_truncated`. Destroying one stream destroys the other. `leave` takes
 * over `inner` where no zstd loads, after the first block of the peer.
 */
export function compressed(
  inner: Duplex,
  leave: (inner: Duplex) => void = (one) => void one.destroy(),
): Duplex {
  return new CompressedStream(inner, leave);
}
