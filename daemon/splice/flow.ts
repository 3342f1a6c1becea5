// One direction of a splice: bytes from a readable side to a writable side, with a bounded spill between the two, and its end.
import type { Duplex } from 'node:stream';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { giveBack } from '../transport/read-buffers.ts';

export interface FlowOptions {
  readonly from: Duplex;
  readonly to: Duplex;
  /** Bytes that may wait here for `to` before `from` is no longer read. 0: as little as the streams themselves buffer. */
  readonly bufferLimit: number;
  /** `from` came to its end, and `to` has passed on everything and its own end. */
  readonly onEnd: () => void;
}

/** What the smallest chunk counts for in the spill: a flood of single bytes must not cost a hundred times its bound. */
const MIN_COST = 256;

/**
 * Bytes read before others have their turn. As long as more is there, libuv reads a socket 32 times in a row, 2 MiB: decrypted, that is
 * 5 ms in which no other stream moves.
 */
const TURN_BYTES = 128 * 1024;

/** Bytes that one write takes along: four TLS records, each of which would cost a system call of its own. */
const BATCH_BYTES = 64 * 1024;
/** A chunk from this size on is a part of bulk: it waits for the others of the same turn of the event loop. */
const BULK_BYTES = 16 * 1024;

/** Bytes that wait while the reader keeps up: more would only be colder when it gets them. */
const AHEAD_BYTES = 256 * 1024;
/** A reader that has not taken half of that in so many ms does not keep up: what the server says is kept for it, up to the spill. */
const KEEPS_UP_MS = 1000;

/**
 * Reads on for a slow reader while fewer than `spill` bytes wait: a real server kills a stream whose writer is blocked for 5 s
 * (docs/bmux-protocol.md, "Blocked writer"). They wait here rather than in `to`, which would take them in one piece and ask for more only when all of it had gone.
 * Lifecycle: flowing -> (source ended) -> ended | discarding.
 */
export class Flow {
  /** Bytes read so far. */
  bytes = 0;
  /** `from` has said its last byte. */
  sourceEnded = false;
  /** `to` has let go of everything, its end too. */
  ended = false;
  /** performance.now() of the last byte read, and of the last taken by `to`. */
  readAt = performance.now();
  takenAt = performance.now();
  readonly #from: Duplex;
  readonly #to: Duplex;
  readonly #spill: number;
  readonly #onEnd: () => void;
  readonly #queue: Buffer[] = [];
  #cost = 0;
  #queued = 0;
  /** performance.now() since when `from` is not read because enough waits here. */
  #heldSince: number | undefined;
  /** performance.now() since when something waits and `to` takes nothing. */
  #stuckSince: number | undefined;
  #stalledMs = 0;
  /** The reader does not keep up. */
  #slow = false;
  #slowTimer: NodeJS.Timeout | undefined;
  /** Bytes read since this stream last gave way. */
  #sinceTurn = 0;
  /** Set while it gives way. */
  #turn: NodeJS.Immediate | undefined;
  /** Set while bulk waits for more of it. */
  #batch: NodeJS.Immediate | undefined;
  #discards = false;
  #told = false;

  constructor({ from, to, bufferLimit, onEnd }: FlowOptions) {
    this.#from = from;
    this.#to = to;
    this.#spill = bufferLimit;
    this.#onEnd = onEnd;
    from.on('data', this.#onData);
    from.on('end', this.#onSourceEnd);
    to.on('drain', this.#onDrain);
    if (from.readableEnded) queueMicrotask(this.#onSourceEnd);
  }

  /** Bytes that wait for `to`. */
  get waiting(): number {
    return this.#queue.reduce((sum, chunk) => sum + chunk.length, this.#to.writableLength);
  }

  /** The longest time, ms, that `to` took nothing although something waited for it. */
  get stalledMs(): number {
    return Math.max(
      this.#stalledMs,
      this.#stuckSince === undefined ? 0 : performance.now() - this.#stuckSince,
    );
  }

  readonly #onData = (chunk: Buffer): void => {
    this.bytes += chunk.length;
    this.readAt = performance.now();
    this.#count(chunk.length);
    if (!this.#discards && !this.#to.destroyed && !this.#to.writableEnded) {
      this.#queue.push(chunk);
      this.#queued += chunk.length;
      this.#cost += Math.max(MIN_COST, chunk.length);
      if (this.#spill > 0 && chunk.length >= BULK_BYTES && this.#queued < BATCH_BYTES)
        this.#batch ??= setImmediate(this.#onDrain);
      else this.#pump();
    }
    this.#regulate();
  };

  readonly #onDrain = (): void => {
    if (!this.#to.writableNeedDrain) this.takenAt = performance.now();
    this.#pump();
    this.#regulate();
    this.#finish();
  };

  /** Writes what waits, as far as `to` takes it. */
  #pump(): void {
    clearImmediate(this.#batch);
    this.#batch = undefined;
    while (this.#queue.length > 0 && !this.#to.writableNeedDrain) {
      let bytes = 0;
      let count = 0;
      for (const chunk of this.#queue) {
        if (bytes >= BATCH_BYTES) break;
        bytes += chunk.length;
        this.#cost -= Math.max(MIN_COST, chunk.length);
        count += 1;
      }
      this.#queued -= bytes;
      this.takenAt = performance.now();
      this.#stalledMs = this.stalledMs;
      this.#stuckSince = undefined;
      this.#write(this.#queue.splice(0, count));
    }
    if (this.#queue.length > 0) this.#stuckSince ??= performance.now();
  }

  #write(chunks: readonly Buffer[]): void {
    const done = (error?: Error | null): void => {
      // A write that failed may still be under way below: a stream that is destroyed goes on with it until it has ended properly.
      if (error) return;
      for (const chunk of chunks) giveBack(chunk);
    };
    const whole = adjoining(chunks);
    if (whole !== undefined) {
      this.#to.write(whole, done);
      return;
    }
    this.#to.cork();
    chunks.forEach((chunk, at) => this.#to.write(chunk, at === chunks.length - 1 ? done : undefined));
    this.#to.uncork();
  }

  /** When enough was read, the next look at the stream finds that it must give way; until the turn after this one. */
  #count(bytes: number): void {
    this.#sinceTurn += bytes;
    if (this.#sinceTurn < TURN_BYTES) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#sinceTurn = 0;
      this.#regulate();
    });
  }

  #regulate(): void {
    const full = this.#cost > 0 ? this.#cost >= this.#spill : this.#spill === 0 && this.#to.writableNeedDrain;
    if (!this.#discards && (full || this.#isAhead())) {
      this.#heldSince ??= performance.now();
    } else {
      this.#heldSince = undefined;
    }
    if (this.#heldSince !== undefined || this.#turn !== undefined) this.#from.pause();
    else if (this.#from.isPaused()) this.#from.resume();
  }

  /** True while enough waits for a reader that keeps up: then `from` is not read until half of it is gone. */
  #isAhead(): boolean {
    const ahead = Math.min(AHEAD_BYTES, this.#spill);
    if (this.#cost <= ahead / 2) this.#slow = false;
    if (this.#slow || this.#cost <= ahead / 2) return false;
    if (this.#heldSince === undefined && this.#cost < ahead) return false;
    this.#slowTimer ??= setTimeout(this.#onSlow, KEEPS_UP_MS);
    return true;
  }

  readonly #onSlow = (): void => {
    this.#slowTimer = undefined;
    if (this.#heldSince === undefined) return;
    const left = this.#heldSince + KEEPS_UP_MS - performance.now();
    this.#slow = left <= 0;
    if (this.#slow) this.#regulate();
    else this.#slowTimer = setTimeout(this.#onSlow, left);
  };

  readonly #onSourceEnd = (): void => {
    this.sourceEnded = true;
    this.#finish();
  };

  #finish(): void {
    if (!this.sourceEnded || this.#told || this.#queue.length > 0) return;
    this.#told = true;
    const done = (): void => {
      if (this.ended) return;
      this.ended = true;
      this.#onEnd();
    };
    if (this.#to.destroyed || this.#to.writableFinished) done();
    else if (this.#to.writableEnded) this.#to.once('finish', done).once('close', done);
    else this.#to.end(done);
  }

  /** No byte comes after those that are here: `from` broke. What waits, in it as well, is still handed on, and the end after it. */
  cut(): void {
    this.#from.off('data', this.#onData);
    for (const chunk of takeBuffered(this.#from)) this.#onData(chunk);
    this.#onSourceEnd();
  }

  /** From now on what is read is thrown away: the writable side is gone, but the readable one must be read to its end. */
  discard(): void {
    this.#discards = true;
    this.#stalledMs = this.stalledMs;
    this.#stuckSince = undefined;
    clearTimeout(this.#slowTimer);
    this.#queue.length = 0;
    this.#queued = 0;
    this.#cost = 0;
    if (!this.#from.destroyed) this.#regulate();
    this.#finish();
  }

  /** Takes the listeners off again. */
  detach(): void {
    clearImmediate(this.#turn);
    clearImmediate(this.#batch);
    clearTimeout(this.#slowTimer);
    this.#from.off('data', this.#onData);
    this.#from.off('end', this.#onSourceEnd);
    this.#to.off('drain', this.#onDrain);
  }
}

/** One view of `chunks`, when they lie one behind the other in the same memory. */
function adjoining(chunks: readonly Buffer[]): Buffer | undefined {
  const [first] = chunks;
  if (first === undefined) return undefined;
  let end = first.byteOffset;
  for (const chunk of chunks) {
    if (chunk.buffer !== first.buffer || chunk.byteOffset !== end) return undefined;
    end += chunk.length;
  }
  return chunks.length === 1 ? first : Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
}
