// Time that a test moves: timers run in their order, and what they set off has settled before the next one.
import type { Clock } from '../../../daemon/base/async/clock.ts';

interface Timer {
  readonly run: () => void;
  at: number;
  readonly every?: number;
}

export class FakeClock implements Clock {
  /** A clock that is set differs from what has passed since the start. */
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

  /** Timers that wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Wall time that no timer has seen: the machine slept, or somebody set the clock. */
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

/** Lets everything happen that is ready to happen: promises, and events of streams. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
