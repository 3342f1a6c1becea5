// Monotonic time for what commands load, too: Node loads a module for the first use of `performance`.

/** ms since an arbitrary point in time. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
