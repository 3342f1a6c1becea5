// Spares: streams on which the Hello has been answered already, as many per key as recent use asks for, for a short while (design.md "Warm means").
import type { Duplex } from 'node:stream';
import { textOf } from '../base/failure.ts';
import { SYSTEM_CLOCK, type Clock } from '../base/async/clock.ts';
import { Shelf, type Ready, type Recipe } from './spare-pool.ts';

export type { Ready, Recipe } from './spare-pool.ts';

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
const MAX_SHELVES = 64;

export class Spares<R extends Ready> {
  readonly #options: SparesOptions;
  readonly #clock: Clock;
  /** Least recently used first. */
  readonly #shelves = new Map<string, Shelf<R>>();
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
  async take(recipe: Recipe<R>, patienceMs = Infinity): Promise<R | undefined> {
    const shelf = this.#shelves.get(recipe.key);
    if (shelf === undefined) return undefined;
    this.#touch(shelf, recipe);
    shelf.note();
    return shelf.take(patienceMs);
  }

  /** A stream of this key was opened without a spare, in `openMs`, its Hello answered after `roundTripMs`: from now on it has spares. */
  used(recipe: Recipe<R>, openMs: number, roundTripMs: number): void {
    if (this.#closed) return;
    const known = this.#shelves.get(recipe.key);
    if (recipe.max(roundTripMs) <= 0 || this.#options.ttlMs() <= 0) {
      if (known !== undefined) this.#remove(known);
      return;
    }
    const shelf = known ?? this.#make(recipe);
    shelf.measured(openMs, roundTripMs);
    this.#touch(shelf, recipe);
    // A use of a known key has been noted when it asked for a spare.
    if (known === undefined) shelf.note();
    else shelf.fill();
  }

  /** Spares held at a server, those in the making not counted. */
  count(address: string): number {
    return this.#at(address).reduce((sum, shelf) => sum + shelf.size, 0);
  }

  /** True while spares of a server are made and kept, should there be none just now. */
  has(address: string): boolean {
    return this.#at(address).length > 0;
  }

  /** When the oldest spare at a server was made, ms since the epoch; undefined without any. */
  sinceMs(address: string): number | undefined {
    const oldest = Math.min(...this.#at(address).map((shelf) => shelf.oldestAt));
    return oldest === Infinity ? undefined : oldest;
  }

  /** Asks every spare anew: the network has changed. */
  distrust(): void {
    for (const shelf of this.#shelves.values()) shelf.distrust();
  }

  /** Gives so many places at a server back, as far as spares have them: those of the least recently used keys first. */
  giveBack(address: string, count: number): void {
    let left = count;
    for (const shelf of this.#at(address)) left -= shelf.giveBack(left);
  }

  /** Ends all spares of a server, gracefully. */
  drop(address: string): void {
    for (const shelf of this.#at(address)) this.#remove(shelf);
  }

  close(): void {
    this.#closed = true;
    this.#stopLooking();
    for (const shelf of this.#shelves.values()) this.#remove(shelf);
  }

  /** After `close`: resolves when nothing is being made any more, and all that there was is being ended. Never rejects. */
  async over(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #at(address: string): Shelf<R>[] {
    return [...this.#shelves.values()].filter((shelf) => shelf.recipe.address === address);
  }

  #make(recipe: Recipe<R>): Shelf<R> {
    const { mayHold, end, log } = this.#options;
    const { address } = recipe;
    return new Shelf(recipe, {
      clock: this.#clock,
      mayHold: () => mayHold(address),
      end,
      log: (what, error) => {
        log(what, { address, err: textOf(error) });
      },
    });
  }

  #touch(shelf: Shelf<R>, recipe: Recipe<R>): void {
    this.#shelves.delete(recipe.key);
    this.#shelves.set(recipe.key, shelf);
    const [oldest] = this.#shelves.values();
    if (this.#shelves.size > MAX_SHELVES && oldest !== undefined) this.#remove(oldest);
    shelf.touch(recipe);
  }

  #remove(shelf: Shelf<R>): void {
    this.#shelves.delete(shelf.recipe.key);
    const closing = shelf.close().then(() => {
      this.#closing.delete(closing);
    });
    this.#closing.add(closing);
  }

  #look(): void {
    for (const shelf of this.#shelves.values()) {
      const kept = shelf.recipe.keep?.() ?? false;
      if (!kept && shelf.idleMs() > this.#options.ttlMs()) this.#remove(shelf);
      else shelf.look();
    }
  }
}
