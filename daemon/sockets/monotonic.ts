// The clock that control and engine share: a hand-off that has waited too long must not be served as if it were new.

/** The system's monotonic clock in ms. Unlike performance.now() it has the same origin in every process. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
