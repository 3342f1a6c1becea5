// A clock that a test advances: timers run in order, and the effects of each have settled before the next one runs.
import type { Clock } from '../../../daemon/base/async/clock.ts';

interface Timer {
  readonly run: () => void;
  at: number;
  readonly every?: number;
}

export class FakeClock implements Clock {
  /** Wall time at the start, epoch ms; setting the clock changes it. */
  #offset = 1_700_000_000_000;
  #passed = 0;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.#offset + this.#passed;
  }

  after(ms: number, run: () => void): () => void {
    return this.#add({ run, at: this.#passed + ms });
  }

  every(ms: number, run: () => void): () => void {
    return this.#add({ run, at: this.#passed + ms, every: ms });
  }

  #add(timer: Timer): () => void {
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Number of pending timers. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Advances the wall time without running timers, as when the machine slept or the clock was set. */
  jump(ms: number): void {
    this.#offset += ms;
  }

  async advance(ms: number): Promise<void> {
    const until = this.#passed + ms;
    await settle();
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#passed = Math.max(this.#passed, next.at);
      if (next.every === undefined) this.#timers.delete(next);
      else next.at += next.every;
      next.run();
      await settle();
    }
    this.#passed = until;
  }
}

/** Waits until all ready promises and stream events have been handled. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
