// The clock for warm connections and spares: wall time, which continues while the machine sleeps, and timers.
import { monotonicMs } from './monotonic.ts';
import { Ticks } from './ticks.ts';

export interface Clock {
  /** ms since 1970. It may jump forward and backward. */
  now(): number;
  /** Calls `run` once after `ms`; the returned function cancels that. */
  after(ms: number, run: () => void): () => void;
  /**
   * Calls `run` every `ms`, without keeping the process alive; the returned function stops that. From `TOGETHER_MS` on, those that are due
   * together share a wake-up, and the first call may come half an interval earlier or later.
   */
  every(ms: number, run: () => void): () => void;
}

/** Intervals from this one on, ms, are for regular work that needs no exact time. */
const TOGETHER_MS = 1000;

const ticks = new Ticks({
  // The same in all processes of this machine.
  now: monotonicMs,
  after: (ms, run) => {
    const timer = setTimeout(run, Math.ceil(ms));
    timer.unref();
    return () => {
      // Node forgets the time of a cancelled timer only when it is one that keeps the process alive, and of whole milliseconds.
      timer.ref();
      clearTimeout(timer);
      // It looks for the next time only after a timer: now, while the process is awake, and not at the cancelled one.
      setTimeout(() => undefined, 1).unref();
    };
  },
});

/** Regular work of this process comes `ms` after that of others. To be called before the first `every`. */
export function workAfterOthers(ms: number): void {
  ticks.shift(ms);
}

/** Does the regular work now that is due within `ms`. */
export function workAhead(ms: number): void {
  ticks.ahead(ms);
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
    if (ms >= TOGETHER_MS) return ticks.every(ms, run);
    const timer = setInterval(run, ms);
    timer.unref();
    return () => {
      clearInterval(timer);
    };
  },
};
