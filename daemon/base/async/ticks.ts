// Regular work of one process, done together: timers are due at multiples of their interval, so that one wake-up serves them all. An idle
// process with a timer of its own for each would wake up for each.

export interface TicksOptions {
  /** Monotonic time, ms. */
  readonly now: () => number;
  /** Calls `run` once after `ms`, without keeping the process alive; the returned function cancels that. */
  readonly after: (ms: number, run: () => void) => () => void;
}

interface Regular {
  readonly ms: number;
  readonly run: () => void;
  at: number;
}

/** ms by which a timer may come early. */
const EARLY_MS = 2;

export class Ticks {
  readonly #options: TicksOptions;
  readonly #all = new Set<Regular>();
  #cancel: () => void = () => undefined;
  #plannedAt = Infinity;
  #shift = 0;

  constructor(options: TicksOptions) {
    this.#options = options;
  }

  /** Moves all times by `ms` from the multiples; to be called before `every`. */
  shift(ms: number): void {
    this.#shift = ms;
  }

  /** Calls `run` at the multiples of `ms`, first after half an interval to one and a half; the returned function stops that. */
  every(ms: number, run: () => void): () => void {
    const regular = { ms, run, at: (Math.round(this.#now() / ms) + 1) * ms };
    this.#all.add(regular);
    this.#plan();
    return () => {
      this.#all.delete(regular);
      if (this.#all.size === 0) this.#plan();
    };
  }

  /** Does now what is due within `ms`: the process is awake already. */
  ahead(ms: number): void {
    if (this.#plannedAt > this.#now() + ms) return;
    this.#cancel();
    this.#tick(ms);
  }

  #now(): number {
    return this.#options.now() - this.#shift;
  }

  #plan(): void {
    const at = Math.min(...[...this.#all].map((regular) => regular.at));
    if (at === this.#plannedAt) return;
    this.#cancel();
    this.#plannedAt = at;
    this.#cancel =
      at === Infinity
        ? () => undefined
        : this.#options.after(Math.max(1, at - this.#now()), () => {
            this.#tick();
          });
  }

  #tick(aheadMs = EARLY_MS): void {
    this.#plannedAt = Infinity;
    const now = this.#now() + aheadMs;
    try {
      for (const regular of this.#all) {
        if (regular.at > now) continue;
        regular.at = (Math.floor(now / regular.ms) + 1) * regular.ms;
        regular.run();
      }
    } finally {
      // What comes after one that has thrown is due still.
      this.#plan();
    }
  }
}
