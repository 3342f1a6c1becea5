// The spares of one upstream: a pool for each key, with as many spares as recent use needs (docs/decisions/spares.md).
import type { Duplex } from 'node:stream';
import type { Random } from '../base/async/backoff.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { textOf } from '../base/failure.ts';
import { LruMap } from '../base/lru-map.ts';
import type { SpareFactory } from './factory.ts';
import { SparePool } from './spare-pool.ts';
import type { ReadyStream } from './spare.ts';

export type { SpareFactory } from './factory.ts';
export type { ReadyStream } from './spare.ts';

export interface SparesOptions {
  /** ms for which spares are kept after the last use of their key. */
  readonly ttlMs: () => number;
  /** True when one more connection to the server may be held. A spare counts from the call of `make`. */
  readonly mayHold: () => boolean;
  /** Ends a stream gracefully, in the background. */
  readonly end: (stream: Duplex) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
  readonly clock?: Clock;
  /** Spreads the pauses after failures. Default: Math.random. */
  readonly random?: Random;
}

/** ms between two rounds over all spares. */
const LOOK_MS = 2000;
/** Keys at once. A key stands for a route with its trust, a contract and a principal. */
const MAX_POOLS = 64;

export class Spares<R extends ReadyStream> {
  readonly #options: SparesOptions;
  readonly #clock: Clock;
  readonly #pools = new LruMap<string, SparePool<R>>(MAX_POOLS, (pool) => {
    this.#close(pool);
  });
  /** Stops the timer, which runs while there are pools. */
  #stopLooking: (() => void) | undefined;
  /** Pools that are being closed. */
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: SparesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /**
   * Resolves with a live spare of this key, or undefined. The call counts as a use. It waits for a spare that is being checked or made when that
   * is faster than opening a stream, at most `patienceMs`.
   */
  async take(factory: SpareFactory<R>, patienceMs = Infinity): Promise<R | undefined> {
    const pool = this.#pools.get(factory.key);
    if (pool === undefined) return undefined;
    pool.touch(factory);
    return pool.take(patienceMs);
  }

  /** A stream of this key was opened without a spare, in `openMs`; its Hello took `roundTripMs`. From now on the key has spares. */
  used(factory: SpareFactory<R>, openMs: number, roundTripMs: number): void {
    if (this.#closed) return;
    const known = this.#pools.get(factory.key);
    if (factory.max(roundTripMs) <= 0 || this.#options.ttlMs() <= 0) {
      if (known !== undefined) this.#remove(known);
      return;
    }
    const pool = known ?? this.#add(factory);
    pool.measured(openMs, roundTripMs);
    pool.touch(factory);
    // The use of a known key was counted by `take`.
    if (known === undefined) pool.note();
    else pool.fill();
  }

  /** Number of spares, without those that are being made. */
  get count(): number {
    return [...this.#pools.values()].reduce((sum, pool) => sum + pool.size, 0);
  }

  /** Number of connections of the server that spares hold, with those that are being made. */
  get held(): number {
    return [...this.#pools.values()].reduce((sum, pool) => sum + pool.held, 0);
  }

  /** True while there is a pool, even if it has no spare at the moment. */
  get areKept(): boolean {
    return this.#pools.size > 0;
  }

  /** When the oldest spare was made, ms since 1970; undefined without spares. */
  get sinceMs(): number | undefined {
    const oldest = Math.min(...[...this.#pools.values()].map((pool) => pool.oldestAt));
    return oldest === Infinity ? undefined : oldest;
  }

  /** The network has changed: each spare is checked before it is handed out. */
  markStale(): void {
    for (const pool of this.#pools.values()) pool.markStale();
  }

  /** Releases up to `count` connections of the server that spares hold, those of the least recently used keys first. */
  giveBack(count: number): void {
    let left = count;
    for (const pool of this.#pools.values()) left -= pool.giveBack(left);
  }

  /** Ends all spares gracefully. */
  drop(): void {
    for (const pool of this.#pools.values()) this.#remove(pool);
  }

  /** Ends all spares gracefully, and makes none from now on. */
  close(): void {
    this.#closed = true;
    this.drop();
  }

  /** After `close`: resolves when no spare is being made any more. Never rejects. */
  async over(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #add(factory: SpareFactory<R>): SparePool<R> {
    const { mayHold, end, log, random } = this.#options;
    const pool = new SparePool(factory, {
      clock: this.#clock,
      random,
      mayHold,
      end,
      log: (what, error) => {
        log(what, { err: textOf(error) });
      },
    });
    this.#pools.set(factory.key, pool);
    this.#stopLooking ??= this.#clock.every(LOOK_MS, () => {
      this.#look();
    });
    return pool;
  }

  #remove(pool: SparePool<R>): void {
    this.#pools.delete(pool.factory.key);
    this.#close(pool);
  }

  #close(pool: SparePool<R>): void {
    const closing = pool.close().then(() => {
      this.#closing.delete(closing);
    });
    this.#closing.add(closing);
    if (this.#pools.size > 0) return;
    this.#stopLooking?.();
    this.#stopLooking = undefined;
  }

  #look(): void {
    for (const pool of this.#pools.values()) {
      const kept = pool.factory.keep?.() ?? false;
      if (!kept && pool.idleMs() > this.#options.ttlMs()) this.#remove(pool);
      else pool.look();
    }
  }
}
