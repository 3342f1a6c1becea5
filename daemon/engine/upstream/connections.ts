// How many of a server's connections we hold: a v4 server has 64 for everybody (spec/v4.md §3).
import type { Duplex } from 'node:stream';

/** Counts streams per resolved address from open to close, and dials. */
export class Connections {
  readonly #held = new Map<string, number>();
  readonly #dialled = new Map<string, number>();
  #others: Readonly<Record<string, number>> = {};

  /** Counts `stream` until it is closed. */
  hold(address: string, stream: Duplex): void {
    if (stream.closed) return;
    add(this.#held, address, 1);
    stream.once('close', () => {
      add(this.#held, address, -1);
    });
  }

  /** Counts a dial until the function that comes back is called, once: its stream counts for itself by then, or there is none. */
  dial(address: string): () => void {
    add(this.#dialled, address, 1);
    return () => {
      add(this.#dialled, address, -1);
    };
  }

  /** What other engines hold, by address, from now on. */
  setOtherEngines(connections: Readonly<Record<string, number>>): void {
    this.#others = connections;
  }

  held(address: string): number {
    return this.#held.get(address) ?? 0;
  }

  /** Those that are held, whichever engine holds them, and those that the dials under way will take. */
  taken(address: string): number {
    return this.held(address) + (this.#others[address] ?? 0) + (this.#dialled.get(address) ?? 0);
  }
}

function add(counts: Map<string, number>, address: string, one: 1 | -1): void {
  const count = (counts.get(address) ?? 0) + one;
  if (count > 0) counts.set(address, count);
  else counts.delete(address);
}
