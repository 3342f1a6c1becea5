// One direction of a splice: bytes from a readable side to a writable side, with a bounded spill between the two, and its end.
import type { Duplex } from 'node:stream';

export interface FlowOptions {
  readonly from: Duplex;
  readonly to: Duplex;
  /** Bytes that may wait here for `to` before `from` is no longer read. 0: as little as the streams themselves buffer. */
  readonly spill: number;
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

/**
 * Reads on while fewer than `spill` bytes wait: a real server kills a stream whose writer is blocked for 5 s (spec/v4.md §3). They wait
 * here rather than in `to`, which would take them in one piece and ask for more only when all of it had gone.
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
  #fullSince: number | undefined;
  #stalledMs = 0;
  /** Bytes read since this stream last gave way. */
  #sinceTurn = 0;
  /** Set while it gives way. */
  #turn: NodeJS.Immediate | undefined;
  #discards = false;
  #told = false;

  constructor({ from, to, spill, onEnd }: FlowOptions) {
    this.#from = from;
    this.#to = to;
    this.#spill = spill;
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

  /** The longest time, ms, that `from` was held back because `to` took nothing more. */
  get stalledMs(): number {
    return Math.max(this.#stalledMs, this.#fullSince === undefined ? 0 : performance.now() - this.#fullSince);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.bytes += chunk.length;
    this.readAt = performance.now();
    this.#count(chunk.length);
    if (!this.#discards && !this.#to.destroyed && !this.#to.writableEnded) this.#pass(chunk);
    this.#regulate();
  };

  #pass(chunk: Buffer): void {
    if (this.#queue.length === 0 && !this.#to.writableNeedDrain) {
      this.takenAt = this.readAt;
      this.#to.write(chunk);
    } else {
      this.#queue.push(chunk);
      this.#cost += Math.max(MIN_COST, chunk.length);
    }
  }

  readonly #onDrain = (): void => {
    this.takenAt = performance.now();
    let taken = 0;
    for (const chunk of this.#queue) {
      if (this.#to.writableNeedDrain) break;
      this.#to.write(chunk);
      this.#cost -= Math.max(MIN_COST, chunk.length);
      taken += 1;
    }
    this.#queue.splice(0, taken);
    this.#regulate();
    this.#finish();
  };

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
    const blocked =
      this.#cost > 0 ? this.#cost >= this.#spill : this.#spill === 0 && this.#to.writableNeedDrain;
    if (blocked && !this.#discards) {
      this.#fullSince ??= performance.now();
      this.#from.pause();
      return;
    }
    this.#stalledMs = this.stalledMs;
    this.#fullSince = undefined;
    if (this.#turn !== undefined) this.#from.pause();
    else if (this.#from.isPaused()) this.#from.resume();
  }

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
    for (let left: unknown = this.#from.read(); Buffer.isBuffer(left); left = this.#from.read())
      this.#onData(left);
    this.#onSourceEnd();
  }

  /** From now on what is read is thrown away: the writable side is gone, but the readable one must be read to its end. */
  discard(): void {
    this.#discards = true;
    this.#queue.length = 0;
    this.#cost = 0;
    if (!this.#from.destroyed) this.#regulate();
    this.#finish();
  }

  /** Takes the listeners off again. */
  detach(): void {
    clearImmediate(this.#turn);
    this.#from.off('data', this.#onData);
    this.#from.off('end', this.#onSourceEnd);
    this.#to.off('drain', this.#onDrain);
  }
}
