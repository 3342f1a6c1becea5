// A stream of plain bytes over a stream of blocks: what goes in is compressed, what comes is decompressed (docs/bmux-protocol.md, "Compression").
import { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { asFailure, fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { BlockReader, MAX_WRITTEN_BYTES } from './block.ts';
import { decodeBlock, encodeBlock } from './zstd.ts';

type Done = (error?: Error | null) => void;

/**
 * Cuts what is queued into the content of blocks: small chunks share one, large ones are split, nothing is copied
 * that makes a block alone.
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
  readonly #blocks = new BlockReader();
  #innerEnded = false;
  /** What broke the inner stream, until the reader has got what had come before. */
  #failed: Error | undefined;
  /** Ends the wait for the reader. */
  #taken: () => void = () => undefined;
  /** The reader wants more: `_read` was called and push has not said stop since. */
  #wanted = false;
  #pumping = false;
  /** What goes on when `inner` takes bytes again, or when this ends. */
  #waiting: Done | undefined;

  constructor(inner: Duplex) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: MAX_WRITTEN_BYTES,
      writableHighWaterMark: MAX_WRITTEN_BYTES,
    });
    this.#inner = inner;
    // Paused until somebody reads here, so that back-pressure holds from the first byte.
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
    this.#taken();
    this.#inner.destroy(error ?? undefined);
    this.#resumeWriting(error ?? cancelled());
    done(error);
  }

  /** The inner stream is destroyed, but what is in its buffer can still be read. */
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

  /** A reader that takes nothing any more is not waited for. */
  #waitForReader(error: Error): void {
    this.#taken();
    this.#taken = onSilence(LIMITS.lingerMs, () => this.destroy(error));
  }

  /** Runs a step over the peer's bytes; what is wrong with them ends this stream and the inner one. */
  #attempt<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (error) {
      this.destroy(asFailure(error));
      return undefined;
    }
  }

  #next(): Buffer | undefined {
    const block = this.#blocks.next();
    if (block !== undefined) return decodeBlock(block);
    if (this.#innerEnded && !this.#blocks.empty) throw fail('block_truncated');
    return undefined;
  }

  /** Hands on complete blocks as long as the reader wants them; one chunk may hold many, and each may be large. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#wanted && !this.destroyed) {
        const plain = this.#attempt(() => this.#next());
        if (plain === undefined) break;
        // Before the push: the reader may call `_read` from within it.
        this.#wanted = false;
        if (this.push(plain)) this.#wanted = true;
      }
      if (this.destroyed) return;
      if (this.#failed === undefined) this.#regulate();
      else if (!this.#blocks.ready) this.destroy(this.#failed);
    } finally {
      this.#pumping = false;
    }
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
      // Not for-of: leaving that would end the generator, and the rest would be lost.
      const portion = content.next();
      if (portion.done === true) {
        done();
        return;
      }
      if (this.#inner.destroyed) {
        // Nothing drains there any more; what is left to be read comes before the end of this stream.
        this.#waiting = done;
        return;
      }
      const block = encodeBlock(portion.value);
      if (this.#inner.writableEnded) {
        // It knows the right error for it.
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

  /** After its end the inner stream may close while blocks still wait here for the reader: those must not be lost. */
  #onInnerClose(): void {
    if (this.#failed !== undefined) return;
    if (!this.#innerEnded || this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  }
}

/** What Node says to a write that was still under way. */
function cancelled(): Error {
  return Object.assign(new Error('the stream was destroyed before the write was done'), {
    code: 'ERR_STREAM_DESTROYED',
  });
}

/**
 * The plain side of `inner`, which carries blocks in both directions and belongs to the result from then on. Every write leaves
 * at once; writes that queued up behind back-pressure share blocks. `end()` ends `inner` (half-closed streams stay readable),
 * its end between blocks is the end, and inside one `block_truncated`; either one's destruction is the other's.
 */
export function compressed(inner: Duplex): Duplex {
  return new CompressedStream(inner);
}
