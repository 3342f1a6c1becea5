// How many spares recent use asks for.

/** ms for which a use counts. */
const RECENT_MS = 10_000;
/** Uses counted at most. */
const MAX_USES = 64;

/** Times of the last uses of one key. */
export class Demand {
  #uses: number[] = [];

  note(now: number): void {
    this.#uses = [...this.#recent(now), now].slice(-MAX_USES);
  }

  /** The most uses that came within `spanMs` lately, and one more; at least 1. */
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

  /** When the clock was set back, there are uses in the future: they do not count. */
  #recent(now: number): number[] {
    return this.#uses.filter((at) => at <= now && now - at < RECENT_MS);
  }
}
