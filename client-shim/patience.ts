// How long a client tries again while processes of the daemon are replaced. Each reason has a time of its own, from its first occurrence on: a
// daemon that was away for long may still take its time to start.

export class Patience {
  readonly #first = new Map<string, number>();

  /** Whether the time for the reason `why` is over at `at`, ms. */
  isOver(why: string, patienceMs: number, at: number): boolean {
    const first = this.#first.get(why) ?? at;
    this.#first.set(why, first);
    return at - first > patienceMs;
  }
}
