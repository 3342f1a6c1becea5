// Spares: streams on which the Hello has been answered already, as many per key as recent use asks for, for a short while (design.md "Warm means").
import type { Duplex } from 'node:stream';
import { textOf } from '../base/failure.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { SparePool, type ReadyStream, type SpareFactory } from './spare-pool.ts';

export type { ReadyStream, SpareFactory } from './spare-pool.ts';

export interface SparesOptions {
  /** ms that spares are kept after the last use of their key. */
  readonly ttlMs: () => number;
  /** True when one more place may be held at that server. What is being made counts as held from the call of its `make` on. */
  readonly mayHold: (address: string) => boolean;
  /** Ends a stream gracefully, in the background. */
  readonly end: (stream: Duplex) => void;
  readonly log: (what: string, details: Readonly<Record<string, unknown>>) => void;
  readonly clock?: Clock;
}

/** ms between two looks at every spare. */
const LOOK_MS = 1000;
/** Keys at once; a key is a server, a client's contract and a principal. */
const MAX_POOLS = 64;

export class Spares<R extends ReadyStream> {
  readonly #options: SparesOptions;
  readonly #clock: Clock;
  /** Least recently used first. */
  readonly #pools = new Map<string, SparePool<R>>();
  readonly #stopLooking: () => void;
  /** Shelves that are being closed. */
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: SparesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#stopLooking = this.#clock.every(LOOK_MS, () => {
      this.#look();
    });
  }

  /**
   * A spare of this key that is alive, or undefined; noted as a use. It waits for one that is just being proven or made where that is
   * sooner than making a stream from the beginning, at most `patienceMs`.
   */
  async take(factory: SpareFactory<R>, patienceMs = Infinity): Promise<R | undefined> {
    const pool = this.#pools.get(factory.key);
    if (pool === undefined) return undefined;
    this.#touch(pool, factory);
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
    const pool = known ?? this.#make(factory);
    pool.measured(openMs, roundTripMs);
    this.#touch(pool, factory);
    // A use of a known key has been noted when it asked for a spare.
    if (known === undefined) pool.note();
    else pool.fill();
  }

  /** Spares held at a server, those in the making not counted. */
  count(address: string): number {
    return this.#at(address).reduce((sum, pool) => sum + pool.size, 0);
  }

  /** True while spares of a server are made and kept, should there be none just now. */
  has(address: string): boolean {
    return this.#at(address).length > 0;
  }

  /** When the oldest spare at a server was made, ms since the epoch; undefined without any. */
  sinceMs(address: string): number | undefined {
    const oldest = Math.min(...this.#at(address).map((pool) => pool.oldestAt));
    return oldest === Infinity ? undefined : oldest;
  }

  /** Asks every spare anew: the network has changed. */
  markStale(): void {
    for (const pool of this.#pools.values()) pool.markStale();
  }

  /** Gives so many places at a server back, as far as spares have them: those of the least recently used keys first. */
  giveBack(address: string, count: number): void {
    let left = count;
    for (const pool of this.#at(address)) left -= pool.giveBack(left);
  }

  /** Ends all spares of a server, gracefully. */
  drop(address: string): void {
    for (const pool of this.#at(address)) this.#remove(pool);
  }

  close(): void {
    this.#closed = true;
    this.#stopLooking();
    for (const pool of this.#pools.values()) this.#remove(pool);
  }

  /** After `close`: resolves when nothing is being made any more, and all that there was is being ended. Never rejects. */
  async over(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #at(address: string): SparePool<R>[] {
    return [...this.#pools.values()].filter((pool) => pool.factory.address === address);
  }

  #make(factory: SpareFactory<R>): SparePool<R> {
    const { mayHold, end, log } = this.#options;
    const { address } = factory;
    return new SparePool(factory, {
      clock: this.#clock,
      mayHold: () => mayHold(address),
      end,
      log: (what, error) => {
        log(what, { address, err: textOf(error) });
      },
    });
  }

  #touch(pool: SparePool<R>, factory: SpareFactory<R>): void {
    this.#pools.delete(factory.key);
    this.#pools.set(factory.key, pool);
    const [oldest] = this.#pools.values();
    if (this.#pools.size > MAX_POOLS && oldest !== undefined) this.#remove(oldest);
    pool.touch(factory);
  }

  #remove(pool: SparePool<R>): void {
    this.#pools.delete(pool.factory.key);
    const closing = pool.close().then(() => {
      this.#closing.delete(closing);
    });
    this.#closing.add(closing);
  }

  #look(): void {
    for (const pool of this.#pools.values()) {
      const kept = pool.factory.keep?.() ?? false;
      if (!kept && pool.idleMs() > this.#options.ttlMs()) this.#remove(pool);
      else pool.look();
    }
  }
}
