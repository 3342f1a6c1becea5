// The pauses between attempts at something that other processes reach at the same time: they grow, and each is a little different, so that all who
// have lost the same server do not come back at once.

/** A number from 0 to 1, as `Math.random` gives it. */
export type Random = () => number;

/** The part of a pause by which it is made shorter or longer at most. */
const SPREAD = 0.2;

/** `ms`, at most a fifth shorter or longer, rounded. */
export function jittered(ms: number, random: Random = Math.random): number {
  return Math.round(ms * (1 - SPREAD + 2 * SPREAD * random()));
}

/** The range of pauses, ms, before they are spread. */
export interface Pauses {
  readonly firstMs: number;
  readonly lastMs: number;
}

/** The pause after `earlier` failures in a row and one more: it doubles with each, up to `lastMs`. */
export function pauseAfter(earlier: number, { firstMs, lastMs }: Pauses, random?: Random): number {
  return jittered(Math.min(lastMs, firstMs * 2 ** Math.min(30, earlier)), random);
}

/** The longest that `pauseAfter` gives. */
export function longestPause({ lastMs }: Pauses): number {
  return jittered(lastMs, () => 1);
}
