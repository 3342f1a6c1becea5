// The clock for warm connections and spares: wall time, which continues while the machine sleeps, and timers.

export interface Clock {
  /** ms since 1970. It may jump forward and backward. */
  now(): number;
  /** Calls `run` once after `ms`; the returned function cancels that. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` every `ms`, without keeping the process alive; the returned function stops that. */
  every(ms: number, run: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => {
      clearTimeout(timer);
    };
  },
  every: (ms, run) => {
    const timer = setInterval(run, ms);
    timer.unref();
    return () => {
      clearInterval(timer);
    };
  },
};
