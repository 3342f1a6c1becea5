// How many of a server's places we hold: a v4 server has 64 for everybody (spec/v4.md §3).
import type { Duplex } from 'node:stream';

/** Counts streams per resolved address from open to close. */
export class Places {
  readonly #held = new Map<string, number>();

  /** Counts `stream` until it is closed. */
  hold(address: string, stream: Duplex): void {
    if (stream.closed) return;
    this.#held.set(address, this.held(address) + 1);
    stream.once('close', () => {
      const left = this.held(address) - 1;
      if (left > 0) this.#held.set(address, left);
      else this.#held.delete(address);
    });
  }

  held(address: string): number {
    return this.#held.get(address) ?? 0;
  }
}
