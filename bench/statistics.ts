// Statistics of measured values: median, spread, and the comparison of two lists that were measured in turns.

export interface Summary {
  readonly runs: number;
  readonly p10: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
}

/** Two lists that were measured in turns and are compared value by value, so that a disturbance of the machine affects both. */
export interface Compared {
  readonly ours: Summary;
  readonly peer: Summary;
  /** Ours divided by the peer's of the same turn. */
  readonly ratio: Summary;
  /** Ours minus the peer's of the same turn. */
  readonly added: Summary;
}

/** The `q` quantile (0 to 1) of ascending values, linearly interpolated. NaN when there are none. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? NaN;
  const high = sorted[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
}

function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number): number => quantile(sorted, q);
  return { runs: values.length, p10: at(0.1), median: at(0.5), p90: at(0.9), p99: at(0.99) };
}

export function compare(ours: readonly number[], peer: readonly number[]): Compared {
  const pairs = ours.slice(0, peer.length).map((value, at) => [value, peer[at] ?? NaN] as const);
  return {
    ours: summarise(ours),
    peer: summarise(peer),
    ratio: summarise(pairs.map(([a, b]) => a / b)),
    added: summarise(pairs.map(([a, b]) => a - b)),
  };
}
