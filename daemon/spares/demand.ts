// The number of spares that recent use needs.

/** ms for which a use is counted. */
const RECENT_MS = 10_000;
/** Uses that are counted at most. */
const MAX_USES = 64;

/** The times of the last uses of one key, in ms by the clock of the pool. */
export class Demand {
  #uses: number[] = [];

  note(now: number): void {
    this.#uses = [...this.#recent(now), now].slice(-MAX_USES);
  }

  /** One more than the largest number of recent uses within `spanMs`. */
  wanted(now: number, spanMs: number): number {
    const uses = this.#recent(now);
    let most = 0;
    let first = 0;
    for (const [index, at] of uses.entries()) {
      while (at - (uses[first] ?? at) >= spanMs) first += 1;
      most = Math.max(most, index - first + 1);
    }
    return most + 1;
  }

  /** Without uses in the future, which exist when the clock was set back. */
  #recent(now: number): number[] {
    return this.#uses.filter((at) => at <= now && now - at < RECENT_MS);
  }
}
