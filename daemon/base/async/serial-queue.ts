// A queue for work that must not overlap: it runs in the order of the calls.

/** Runs one piece of work at a time. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything before it has settled. Rejects as `work` does; the next piece runs anyway. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
