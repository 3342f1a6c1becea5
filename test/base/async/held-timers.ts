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

/** ms by which time goes on at once when it is held: less than what counts as a process that stood still. */
const STEP_MS = 50;

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
    until,
    release,
  };
}

/** The same, and holds monotonic time, too: `performance.now()` and `process.hrtime.bigint()` go on only with `pass`. */
export function holdTime(t: Test): HeldTimers {
  const timers = holdTimers(t);
  // The two clocks count from different moments.
  const [start, startNs] = [now(), process.hrtime.bigint()];
  let passed = 0;
  const clocks = [
    mock.method(performance, 'now', () => start + passed),
    mock.method(process.hrtime, 'bigint', () => startNs + BigInt(passed * 1_000_000)),
  ];
  const release = (): void => {
    timers.release();
    for (const clock of clocks) clock.mock.restore();
  };
  t.teardown(release);
  return {
    pass: async (ms) => {
      for (let left = ms; left > 0; left -= STEP_MS) {
        const step = Math.min(STEP_MS, left);
        passed += step;
        await timers.pass(step);
      }
    },
    until,
    release,
  };
}

// The real clock, also while `performance.now` is held.
const now = performance.now.bind(performance);

async function until(what: string, condition: () => boolean): Promise<void> {
  const end = now() + LATE_MS;
  while (!condition()) {
    if (now() > end) throw new Error(`waited ${String(LATE_MS)} ms for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
