// Work that must not overlap is done in the order in which it was asked for.

/** One piece of work at a time. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything before it has settled. Rejects as `work` does; the next piece runs all the same. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
