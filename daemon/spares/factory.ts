// How the spares of one key are made, and how many.
import type { ReadyStream } from './spare.ts';

/** How the spares of one key are made. */
export interface SpareFactory<R extends ReadyStream> {
  readonly key: string;
  /** Spares at most at this round trip (ms); 0 for none. Called each time, since settings change. */
  readonly max: (roundTripMs: number) => number;
  /** True when the spares are kept without a time limit after the last use. */
  readonly keep?: () => boolean;
  /**
   * ms after a spare was handed out in which no other one is made, at this round trip (ms): making one may keep this process from handing over
   * the first answer. Default: 0.
   */
  readonly restMs?: (roundTripMs: number) => number;
  /** Makes a stream. It has a time limit. When `signal` aborts, it rejects soon, and ends gracefully what it has opened. */
  readonly make: (signal: AbortSignal) => Promise<R>;
}
