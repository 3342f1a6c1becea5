// Timers of the code under test that run when the test says so. Sockets, files and other processes take their own time.
import { mock } from 'node:test';
import type { Test } from 'tap';
import { settle } from './fake-clock.ts';

/** Real ms that `until` waits. */
const LATE_MS = 60_000;

export interface HeldTimers {
  /** Lets `ms` pass, and what follows happen. */
  readonly pass: (ms: number) => Promise<void>;
  /** Waits until `condition` holds, while no timer runs. */
  readonly until: (what: string, condition: () => boolean) => Promise<void>;
  /** From now on timers run by themselves. */
  readonly release: () => void;
}

/** Holds `setTimeout` until `release`, or the end of the test. */
export function holdTimers(t: Test): HeldTimers {
  mock.timers.enable({ apis: ['setTimeout'] });
  const release = (): void => {
    mock.timers.reset();
  };
  t.teardown(release);
  return {
    pass: async (ms) => {
      mock.timers.tick(ms);
      await settle();
    },
    until: async (what, condition) => {
      const end = performance.now() + LATE_MS;
      while (!condition()) {
        if (performance.now() > end) throw new Error(`waited ${String(LATE_MS)} ms for ${what}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    release,
  };
}
