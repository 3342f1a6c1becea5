// What the engines have counted, those that have ended included: their counters together never go down.
import type { Sample, Tally } from '../../api/metrics/tally.ts';

/** Engines whose last tally is kept; the counters of older ones are added up. Fewer run at the same time. */
const MAX_KEPT = 64;

export class Tallies {
  /** The last tally of each engine, by generation. */
  readonly #last = new Map<string, Tally>();
  /** The sum of the counters of engines that are not kept, and the youngest of these engines. */
  #before: { readonly counters: readonly Sample[]; readonly youngest: string } = {
    counters: [],
    youngest: '',
  };

  /** An engine has sent its tally. One that is older than the last is ignored. */
  readonly heard = (tally: Tally): void => {
    const { generation, sequence } = tally;
    const known = this.#last.get(generation);
    // What is added up already must not be counted again.
    if (known === undefined ? generation <= this.#before.youngest : known.sequence >= sequence) return;
    this.#last.set(generation, tally);
    const oldest = this.#inOrder()[0];
    if (this.#last.size <= MAX_KEPT || oldest === undefined) return;
    this.#last.delete(oldest.generation);
    this.#before = {
      counters: summed([...this.#before.counters, ...oldest.counters]),
      youngest: oldest.generation,
    };
  };

  /** The counters of all engines of which this control has heard. */
  counters(): Sample[] {
    return summed([...this.#before.counters, ...this.#inOrder().flatMap(({ counters }) => counters)]);
  }

  /** By age: names of generations sort by it. In one order sums are rounded alike, and none goes down. */
  #inOrder(): Tally[] {
    return [...this.#last.values()].sort((a, b) => (a.generation < b.generation ? -1 : 1));
  }

  /** What is there now at the engines of these generations. */
  gauges(generations: readonly string[]): Sample[] {
    return summed(generations.flatMap((generation) => this.#last.get(generation)?.gauges ?? []));
  }
}

/** Samples with the same name and labels as one. */
export function summed(samples: readonly Sample[]): Sample[] {
  const sums = new Map<string, Sample>();
  for (const { name, labels, value } of samples) {
    const key = JSON.stringify([name, Object.entries(labels).flat()]);
    const known = sums.get(key);
    sums.set(key, { name, labels, value: (known?.value ?? 0) + value });
  }
  return [...sums.values()];
}
