// One direction of a splice: passes bytes and the end from a readable side to a writable side, with a bounded buffer between them.
import type { Duplex } from 'node:stream';
import { StreamTurns } from '../base/async/turn.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { giveBack } from '../base/streams/blocks.ts';
import type { BufferBudget } from './buffer-budget.ts';
import { ChunkQueue } from './chunk-queue.ts';
import { Hold } from './hold.ts';

export interface FlowOptions {
  readonly from: Duplex;
  readonly to: Duplex;
  /** Bytes that may be buffered here for `to` before `from` is paused. 0: only the streams' own buffers are used. */
  readonly bufferLimit: number;
  /** What all streams together may buffer; none: no limit. */
  readonly budget?: BufferBudget | undefined;
  /** `onEnd` closes `to` both ways, so it gets no end of its own: a half-closed socket would take what is written in between. */
  readonly closes?: boolean;
  /** Called before the end is passed to `to`. */
  readonly beforeEnd?: () => void;
  /** `from` has ended, and `to` has flushed everything and its own end, where it gets one. */
  readonly onEnd: () => void;
}

/**
 * Bytes read before other streams get a turn. While more is available, libuv reads a socket 32 times in a row, 2 MiB. With decryption, that
 * takes 5 ms, in which no other stream moves.
 */
const TURN_BYTES = 128 * 1024;
/** What the smallest chunk counts for in a turn: handling it costs more time than its bytes. */
const MIN_TURN_BYTES = 256;

/** Bytes of chunks that one write combines: four TLS records, each of which would cost a system call alone. */
const BATCH_BYTES = 64 * 1024;
/** A chunk of at least this size is part of a bulk transfer: it waits for the others of the same turn of the event loop. */
const BULK_BYTES = 16 * 1024;

/** Bytes buffered for a reader that keeps up: more of them would only leave the CPU cache before they are written. */
const AHEAD_BYTES = 256 * 1024;
const NOTHING = Buffer.alloc(0);

/** A reader that has not taken half of them within these ms does not keep up: data is buffered for it up to the buffer limit. */
const KEEPS_UP_MS = 1000;

/**
 * Keeps reading for a slow reader while fewer than `bufferLimit` bytes are buffered: a real server kills a stream whose writer is blocked for 5 s
 * (docs/bmux-protocol.md, "Blocked writer"). They are buffered here, because `to` would take them in one piece and drain only when all is written.
 * Lifecycle: flowing -> (source ended) -> ended | discarding.
 */
export class Flow {
  /** Bytes read so far. */
  bytes = 0;
  /** `from` has ended. */
  sourceEnded = false;
  /** `onEnd` was called. */
  ended = false;
  /** performance.now() of the last byte read, and of the last one that `to` took. */
  readAt = performance.now();
  takenAt = performance.now();
  readonly #from: Duplex;
  readonly #to: Duplex;
  readonly #limit: number;
  readonly #onEnd: () => void;
  readonly #beforeEnd: () => void;
  readonly #closes: boolean;
  readonly #budget: BufferBudget | undefined;
  readonly #queue = new ChunkQueue();
  /** What the budget was told of the queue. */
  #counted = 0;
  /** `from` is paused because enough is buffered here. */
  readonly #hold = new Hold();
  /** performance.now() since when bytes are buffered and `to` takes none. */
  #stuckSince: number | undefined;
  #stalledMs = 0;
  /** The reader does not keep up. */
  #slow = false;
  #slowTimer: NodeJS.Timeout | undefined;
  /** Bytes read since other streams last got a turn. */
  #sinceTurn = 0;
  readonly #turns = new StreamTurns();
  /** Set while `from` is paused to give other streams a turn; stops the waiting. */
  #turn: (() => void) | undefined;
  /** Set while chunks of a bulk transfer wait for more. */
  #batch: NodeJS.Immediate | undefined;
  #discards = false;
  #told = false;

  constructor({ from, to, bufferLimit, budget, closes, beforeEnd, onEnd }: FlowOptions) {
    this.#from = from;
    this.#to = to;
    this.#limit = bufferLimit;
    this.#onEnd = onEnd;
    this.#beforeEnd = beforeEnd ?? nothing;
    this.#closes = closes ?? false;
    this.#budget = budget;
    from.on('data', this.#onData);
    from.on('end', this.#onSourceEnd);
    to.on('drain', this.#onDrain);
    if (from.readableEnded) queueMicrotask(this.#onSourceEnd);
  }

  /** Bytes buffered for `to`, here and in `to` itself. */
  get waiting(): number {
    return this.#queue.bytes + this.#to.writableLength;
  }

  /** How long `to` did not read, ms, when an end of `from` at this moment may come from that. */
  get blame(): number | undefined {
    return this.#hold.blame(this.bytes);
  }

  /** The longest time, ms, that `to` took nothing although bytes were buffered for it. */
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
      if (this.#limit > 0 && chunk.length >= BULK_BYTES && this.#queue.bytes < BATCH_BYTES)
        this.#batch ??= setImmediate(this.#onDrain);
      else this.#pump();
    } else giveBack(chunk);
    this.#regulate();
  };

  readonly #onDrain = (): void => {
    if (!this.#to.writableNeedDrain) this.takenAt = performance.now();
    this.#pump();
    this.#regulate();
    this.#finish();
  };

  /** Writes buffered chunks until `to` needs to drain. */
  #pump(): void {
    clearImmediate(this.#batch);
    this.#batch = undefined;
    while (!this.#queue.empty && !this.#to.writableNeedDrain) {
      this.takenAt = performance.now();
      this.#stalledMs = this.stalledMs;
      this.#stuckSince = undefined;
      this.#write(this.#queue.take(BATCH_BYTES));
    }
    if (!this.#queue.empty) this.#stuckSince ??= performance.now();
  }

  #write(chunks: readonly Buffer[]): void {
    const done = (error?: Error | null): void => {
      // After an error the memory may still be in use: a lower layer continues a write of a destroyed stream until its proper end.
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

  /** Counts bytes read. After `TURN_BYTES`, `#regulate` keeps `from` paused until it is this stream's turn again. */
  #count(bytes: number): void {
    this.#sinceTurn += Math.max(MIN_TURN_BYTES, bytes);
    if (this.#sinceTurn < TURN_BYTES) return;
    this.#turn ??= this.#turns.next(() => {
      this.#turn = undefined;
      this.#sinceTurn = 0;
      this.#regulate();
    });
  }

  #regulate(): void {
    const { cost } = this.#queue;
    this.#account(cost);
    if (!this.#discards && (this.#isFull(cost) || this.#isAhead(cost))) this.#hold.begin();
    else if (this.#hold.since !== undefined) this.#hold.end(this.bytes);
    if (cost === 0 && !this.#to.writableNeedDrain) this.#hold.caughtUp();
    if (this.#hold.since !== undefined || this.#turn !== undefined) this.#from.pause();
    else if (this.#from.isPaused()) this.#from.resume();
  }

  /** Tells the budget how much memory the queue holds now. */
  #account(cost: number): void {
    if (cost !== this.#counted) this.#budget?.change(cost - this.#counted);
    this.#counted = cost;
  }

  #isFull(cost: number): boolean {
    const budget = this.#budget;
    const lacks = budget !== undefined && cost > 0 && cost < this.#limit && cost >= budget.free;
    if (lacks) budget.whenFree(this.#onFree);
    else budget?.forget(this.#onFree);
    return lacks || (cost > 0 ? cost >= this.#limit : this.#limit === 0 && this.#to.writableNeedDrain);
  }

  readonly #onFree = (): void => {
    this.#regulate();
  };

  /** True while enough is buffered for a reader that keeps up: then `from` stays paused until half of it is written. */
  #isAhead(cost: number): boolean {
    const ahead = Math.min(AHEAD_BYTES, this.#limit);
    if (cost <= ahead / 2) this.#slow = false;
    if (this.#slow || cost <= ahead / 2) return false;
    if (this.#hold.since === undefined && cost < ahead) return false;
    this.#slowTimer ??= setTimeout(this.#onSlow, KEEPS_UP_MS);
    return true;
  }

  readonly #onSlow = (): void => {
    this.#slowTimer = undefined;
    const { since } = this.#hold;
    if (since === undefined) return;
    const left = since + KEEPS_UP_MS - performance.now();
    this.#slow = left <= 0;
    if (this.#slow) this.#regulate();
    else this.#slowTimer = setTimeout(this.#onSlow, left);
  };

  readonly #onSourceEnd = (): void => {
    this.sourceEnded = true;
    this.#finish();
  };

  #finish(): void {
    if (!this.sourceEnded || this.#told || !this.#queue.empty) return;
    this.#told = true;
    this.#beforeEnd();
    const done = (): void => {
      if (this.ended) return;
      this.ended = true;
      this.#onEnd();
    };
    if (this.#to.destroyed || this.#to.writableFinished) done();
    else if (this.#to.writableEnded) this.#to.once('finish', done).once('close', done);
    else if (this.#closes && this.#to.writableLength === 0) done();
    else if (this.#closes) this.#to.write(NOTHING, done);
    else this.#to.end(done);
  }

  /** Ends this direction because `from` broke. Bytes buffered here and in `from` are still passed on, then the end. */
  cut(): void {
    this.#from.off('data', this.#onData);
    for (const chunk of takeBuffered(this.#from)) this.#onData(chunk);
    this.#onSourceEnd();
  }

  /** Drops all bytes from now on: the writable side is gone, but the readable one must be read to its end. */
  discard(): void {
    this.#discards = true;
    this.#stalledMs = this.stalledMs;
    this.#stuckSince = undefined;
    clearTimeout(this.#slowTimer);
    this.#queue.clear();
    this.#account(0);
    if (!this.#from.destroyed) this.#regulate();
    this.#finish();
  }

  /** Removes listeners and timers. */
  detach(): void {
    this.#turn?.();
    clearImmediate(this.#batch);
    clearTimeout(this.#slowTimer);
    this.#account(0);
    this.#budget?.forget(this.#onFree);
    this.#from.off('data', this.#onData);
    this.#from.off('end', this.#onSourceEnd);
    this.#to.off('drain', this.#onDrain);
  }
}

function nothing(): void {
  // The default of `beforeEnd`.
}

/** One view of all `chunks` if they are adjacent in the same memory. */
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
