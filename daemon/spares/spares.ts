// The spares of one upstream: streams whose Hello has been answered, as many per key as recent use asks for (docs/decisions/spares.md).
import type { Duplex } from 'node:stream';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { textOf } from '../base/failure.ts';
import { LruMap } from '../base/lru-map.ts';
import { SparePool, type SpareFactory } from './spare-pool.ts';
import type { ReadyStream } from './spare.ts';

export type { SpareFactory } from './spare-pool.ts';
export type { ReadyStream } from './spare.ts';

export interface SparesOptions {
  /** ms that spares are kept after the last use of their key. */
  readonly ttlMs: () => number;
  /** True when one more connection to the server may be held. A spare that is being made counts from the call of its `make` on. */
  readonly mayHold: () => boolean;
  /** Ends a stream gracefully, in the background. */
  readonly end: (stream: Duplex) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
  readonly clock?: Clock;
}

/** ms between two looks at every spare. */
const LOOK_MS = 1000;
/** Keys at once; a key is a route, a client's contract and a principal. */
const MAX_POOLS = 64;

export class Spares<R extends ReadyStream> {
  readonly #options: SparesOptions;
  readonly #clock: Clock;
  readonly #pools = new LruMap<string, SparePool<R>>(MAX_POOLS, (pool) => {
    this.#close(pool);
  });
  /** Set while there are pools: an upstream without spares has no timer. */
  #stopLooking: (() => void) | undefined;
  /** Pools that are being closed. */
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: SparesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /**
   * A spare of this key that is alive, or undefined; counted as a use. It waits for one that is just being checked or made when that is
   * sooner than opening a stream from the beginning, at most `patienceMs`.
   */
  async take(factory: SpareFactory<R>, patienceMs = Infinity): Promise<R | undefined> {
    const pool = this.#pools.get(factory.key);
    if (pool === undefined) return undefined;
    pool.touch(factory);
    pool.note();
    return pool.take(patienceMs);
  }

  /** A stream of this key was opened without a spare, in `openMs`, its Hello answered after `roundTripMs`: from now on it has spares. */
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
    // A use of a known key was counted when a spare was asked for.
    if (known === undefined) pool.note();
    else pool.fill();
  }

  /** Spares that are ready; those that are being made are not counted. */
  get count(): number {
    return [...this.#pools.values()].reduce((sum, pool) => sum + pool.size, 0);
  }

  /** True while spares are made and kept, even if there are none just now. */
  get areKept(): boolean {
    return this.#pools.size > 0;
  }

  /** When the oldest spare was made, ms since the epoch; undefined without any. */
  get sinceMs(): number | undefined {
    const oldest = Math.min(...[...this.#pools.values()].map((pool) => pool.oldestAt));
    return oldest === Infinity ? undefined : oldest;
  }

  /** The network has changed: each spare is checked before it is handed out. */
  markStale(): void {
    for (const pool of this.#pools.values()) pool.markStale();
  }

  /** Releases so many connections of the server, as far as spares hold them: those of the least recently used keys first. */
  giveBack(count: number): void {
    let left = count;
    for (const pool of this.#pools.values()) left -= pool.giveBack(left);
  }

  /** Ends all spares, gracefully. */
  drop(): void {
    for (const pool of this.#pools.values()) this.#remove(pool);
  }

  /** As `drop`, and makes none from now on. */
  close(): void {
    this.#closed = true;
    this.drop();
  }

  /** After `close`: resolves when no spare is being made any more, and all are being ended. Never rejects. */
  async over(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #add(factory: SpareFactory<R>): SparePool<R> {
    const { mayHold, end, log } = this.#options;
    const pool = new SparePool(factory, {
      clock: this.#clock,
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
