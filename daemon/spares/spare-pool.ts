// The spare pool of one key: makes spares, checks them, and hands each out once.
import type { Duplex } from 'node:stream';
import type { Random } from '../base/async/backoff.ts';
import type { Clock } from '../base/async/clock.ts';
import { Demand } from './demand.ts';
import { Backoff } from './backoff.ts';
import type { SpareFactory } from './factory.ts';
import { byCheck, isUsable, Spare, type ReadyStream, type SpareOwner } from './spare.ts';

export interface SparePoolOptions {
  readonly clock: Clock;
  /** Spreads the pauses after failures. Default: Math.random. */
  readonly random?: Random | undefined;
  /** True when one more connection to the server may be held. A spare that is being made counts as held. */
  readonly mayHold: () => boolean;
  /** Ends a stream gracefully, in the background. */
  readonly end: (stream: Duplex) => void;
  readonly log: (what: string, error: unknown) => void;
}

/** A spare that is being made. */
interface Making {
  readonly since: number;
  readonly abort: AbortController;
  /** Resolves when it is made or has failed. Never rejects. */
  readonly over: Promise<void>;
}

/** ms after which a spare is checked again, at every second look. A check is valid for longer. */
const CHECK_MS = 3000;
/** ms for which `take` waits for checks, at least; two round trips when that is more. */
const PATIENCE_MS = 100;
/** Timeout of a check in ms, at least; four round trips when that is more. */
const DEAD_MS = 1000;
/** Lifecycle: open -> closed. When it is closed, spares that are being made are aborted, and ended if they are made all the same. */
export class SparePool<R extends ReadyStream> implements SpareOwner<R> {
  factory: SpareFactory<R>;
  readonly #options: SparePoolOptions;
  readonly #demand = new Demand();
  readonly #spares: Spare<R>[] = [];
  /** The oldest is the first. */
  readonly #making: Making[] = [];
  /** Callers of `take` that wait for one of `#making`. Those streams are handed out at once, so as many more are made. */
  #waiting = 0;
  #usedAt: number;
  /** ms that opening a stream took the last time. */
  #makeMs = 0;
  #roundTripMs = 0;
  /** Ends the rest after a spare was handed out; undefined without one. */
  #endRest: (() => void) | undefined;
  readonly #backoff: Backoff;
  #closed = false;

  constructor(factory: SpareFactory<R>, options: SparePoolOptions) {
    this.factory = factory;
    this.#options = options;
    this.#usedAt = options.clock.now();
    this.#backoff = new Backoff(options.clock, options.random);
  }

  get size(): number {
    return this.#spares.length;
  }

  /** Connections of the server that it holds: a spare counts from the call of `make`. */
  get held(): number {
    return this.#spares.length + this.#making.length;
  }

  /** When the oldest spare was made, ms by the clock; Infinity without spares. */
  get oldestAt(): number {
    return Math.min(...this.#spares.map(({ madeAt }) => madeAt));
  }

  /** Former checks no longer count: each spare is checked again before it is handed out. */
  markStale(): void {
    for (const spare of this.#spares) {
      spare.markStale();
      void this.#check(spare);
    }
  }

  /** ms since the last use. */
  idleMs(): number {
    const now = this.#options.clock.now();
    // Without this, spares would be kept too long when the clock was set back.
    this.#usedAt = Math.min(this.#usedAt, now);
    return now - this.#usedAt;
  }

  /** The key is used now; `factory` is the latest way to make its streams. */
  touch(factory: SpareFactory<R>): void {
    this.factory = factory;
    this.#usedAt = this.#options.clock.now();
  }

  /** Counts a use. The number of recent uses decides how many spares are kept. */
  note(): void {
    this.#demand.note(this.#options.clock.now());
    this.fill();
  }

  /** A stream was opened without a spare in `openMs`, so the server is up: a pause after failures ends. */
  measured(openMs: number, roundTripMs: number): void {
    this.#makeMs = openMs;
    this.#roundTripMs = roundTripMs;
    this.#backoff.reset();
  }

  /** See `Spares.take`. */
  async take(patienceMs: number): Promise<R | undefined> {
    const { clock } = this.#options;
    const since = clock.now();
    this.#demand.note(since);
    let waiting = false;
    try {
      for (;;) {
        const fresh = this.#handOut();
        if (fresh !== undefined) this.#rest();
        if (fresh !== undefined || this.#closed) return fresh;
        this.#wake();
        const checks = this.#spares.map((spare) => this.#check(spare));
        const made = this.#making[this.#waiting - (waiting ? 1 : 0)];
        const worth = made !== undefined && (waiting || since - made.since >= this.#roundTripMs);
        const until = Math.max(
          checks.length > 0 ? since + Math.max(PATIENCE_MS, 2 * this.#roundTripMs) : 0,
          worth ? made.since + 1.5 * this.#makeMs : 0,
        );
        const left = Math.min(until, since + patienceMs) - clock.now();
        if (left <= 0) return undefined;
        if (worth && !waiting) {
          waiting = true;
          this.#waiting += 1;
          this.fill();
        }
        await this.#any([...checks, ...(worth ? this.#making.map(({ over }) => over) : [])], left);
      }
    } finally {
      if (waiting) this.#waiting -= 1;
      this.fill();
    }
  }

  /** Checks spares whose last check is old, ends spares whose server has moved and spares that are too many, and makes missing ones. */
  look(): void {
    for (const spare of this.#spares.filter(({ ready }) => ready.hasMoved?.() === true)) this.#end(spare);
    this.#endSurplus();
    for (const spare of this.#spares) if (spare.ageOfCheckMs > CHECK_MS) void this.#check(spare);
    this.fill();
  }

  /** Ends spares beyond those that are wanted, which are fewer after a host has refused a session. */
  #endSurplus(): void {
    const surplus = this.#spares.length - this.#waiting - this.#wanted();
    for (const spare of surplus > 0 ? this.#spares.slice(0, surplus) : []) this.#end(spare);
  }

  /** Makes the missing spares, as far as more connections may be held. */
  fill(): void {
    const { clock, mayHold, end, log } = this.#options;
    if (this.#backoff.waiting || this.#endRest !== undefined) return;
    while (!this.#closed && this.held - this.#waiting < this.#wanted() && mayHold()) {
      const over = (): void => {
        this.#making.splice(this.#making.indexOf(making), 1);
      };
      const abort = new AbortController();
      const made = this.factory.make(abort.signal).then(
        (ready) => {
          over();
          if (abort.signal.aborted) {
            end(ready.stream);
            return;
          }
          this.#makeMs = Math.max(0, clock.now() - making.since);
          this.#keep(ready);
          this.#endSurplus();
        },
        (error: unknown) => {
          over();
          // The failure of an aborted spare does not count: it says nothing about the server.
          if (abort.signal.aborted) return;
          this.#backoff.failed();
          this.#endSurplus();
          log('no spare', error);
        },
      );
      const making: Making = { since: clock.now(), abort, over: made };
      this.#making.push(making);
    }
  }

  /** Begins a rest, unless there is one: a burst of uses does not prolong it. */
  #rest(): void {
    if (this.#restMs > 0) this.#endRest ??= this.#options.clock.after(this.#restMs, this.#wake);
  }

  /** Ends a rest, and makes the missing spares. */
  readonly #wake = (): void => {
    this.#endRest?.();
    this.#endRest = undefined;
    this.fill();
  };

  get #restMs(): number {
    return this.factory.restMs?.(this.#roundTripMs) ?? 0;
  }

  /** Aborts spares that are being made and are not awaited, then ends ready ones; at most `count`. Returns how many. */
  giveBack(count: number): number {
    // Callers of `take` wait for the oldest ones.
    const makings = this.#making.filter(
      ({ abort }, index) => index >= this.#waiting && !abort.signal.aborted,
    );
    const givenUp = makings.slice(0, count);
    for (const { abort } of givenUp) abort.abort();
    const ended = this.#spares.slice(0, count - givenUp.length);
    for (const spare of ended) this.#end(spare);
    return givenUp.length + ended.length;
  }

  /** Ends all spares. Resolves when none is being made any more. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endRest?.();
    const making = [...this.#making];
    for (const { abort } of making) abort.abort();
    for (let [spare] = this.#spares; spare !== undefined; [spare] = this.#spares) this.#end(spare);
    await Promise.all(making.map(({ over }) => over));
  }

  checked(spare: Spare<R>, roundTripMs: number): void {
    this.#roundTripMs = roundTripMs;
    if (spare.hasLasted) this.#backoff.succeeded();
  }

  /** Another spare is made, unless spares are lost soon after they were made. */
  lost(spare: Spare<R>, why: unknown): void {
    if (!this.#spares.includes(spare)) return;
    this.#end(spare);
    this.#options.log('a spare was lost', why);
    if (spare.isYoung) this.#backoff.failed();
    else this.fill();
  }

  #wanted(): number {
    const span = Math.max(2 * (this.#restMs + this.#makeMs), 4 * this.#roundTripMs);
    const wanted = this.#demand.wanted(this.#options.clock.now(), span);
    return Math.min(this.factory.max(this.#roundTripMs), wanted);
  }

  /** Removes the best spare from the pool. It is synchronous, so that no two callers get the same spare. */
  #handOut(): R | undefined {
    const good = this.#spares.filter(({ isChecked }) => isChecked).sort(byCheck);
    for (const spare of good) {
      const { ready } = spare;
      if (!spare.isUsable) {
        this.#end(spare);
        continue;
      }
      // The former check is still valid, so the caller does not wait for the one under way.
      if (spare.isChecking && !ready.release()) continue;
      this.#spares.splice(this.#spares.indexOf(spare), 1);
      spare.release();
      return ready;
    }
    return undefined;
  }

  /** Resolves when one of `waits` has resolved, or after `ms`. */
  async #any(waits: readonly Promise<void>[], ms: number): Promise<void> {
    let cancel: () => void = () => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#options.clock.after(ms, resolve);
    });
    await Promise.race([...waits, late]);
    cancel();
  }

  #keep(ready: R): void {
    const { clock, end } = this.#options;
    const { stream } = ready;
    if (!isUsable(ready)) {
      end(stream);
      this.#backoff.failed();
      return;
    }
    this.#spares.push(new Spare(ready, clock, this));
  }

  /** Checks one spare; when the check fails, the spare is removed and ended. Never rejects. */
  #check(spare: Spare<R>): Promise<void> {
    return spare.check(Math.max(DEAD_MS, 4 * this.#roundTripMs));
  }

  #end(spare: Spare<R>): void {
    this.#spares.splice(this.#spares.indexOf(spare), 1);
    spare.release();
    this.#options.end(spare.ready.stream);
  }
}
