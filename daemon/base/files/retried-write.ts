// Saves a file of bmuxd's state. A write that fails is done again later, until it works: the disk may be full for a while.
import { SYSTEM_CLOCK, type Clock } from '../async/clock.ts';
import { Refresh } from '../async/single-flight.ts';
import { textOf } from '../failure.ts';

/** ms between two attempts. */
const RETRY_MS = 2000;

export interface RetriedWriteOptions {
  /** Writes the present state to the file. */
  readonly write: () => Promise<void>;
  /** Called for the first of consecutive failures with the same text. */
  readonly onFailure: (why: string) => void;
  readonly clock?: Clock;
}

export class RetriedWrite {
  readonly #options: RetriedWriteOptions;
  readonly #writes: Refresh;
  #why: string | undefined;
  #stopRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: RetriedWriteOptions) {
    this.#options = options;
    this.#writes = new Refresh(() => this.#write());
  }

  /** Why the last write failed; undefined when the file is up to date. */
  get why(): string | undefined {
    return this.#why;
  }

  /** Resolves when the state at the time of this call has been written, or the attempt has failed. Never rejects. */
  request(): Promise<void> {
    return this.#writes.request();
  }

  /** Ends the attempts. `request` still writes. */
  close(): void {
    this.#closed = true;
    this.#stopRetry?.();
    this.#stopRetry = undefined;
  }

  async #write(): Promise<void> {
    const { write, onFailure, clock = SYSTEM_CLOCK } = this.#options;
    try {
      await write();
      this.#why = undefined;
      this.#stopRetry?.();
      this.#stopRetry = undefined;
    } catch (error) {
      const why = textOf(error);
      if (why !== this.#why) onFailure(why);
      this.#why = why;
      if (this.#closed) return;
      this.#stopRetry ??= clock.every(RETRY_MS, () => void this.request());
    }
  }
}
