// Clients that come again and again while the daemon is restarted: how long each had to wait, and what went wrong.
import { connect } from 'node:net';
import { sleep } from '../../../daemon/base/async/sleep.ts';

/** ms between two clients of a loop. */
const PAUSE_MS = 5;
/** Times that are kept: the first ones, and the longest of all. */
const MAX_TIMES = 100_000;

export class Loop {
  readonly name: string;
  readonly failures: string[] = [];
  readonly #times: number[] = [];
  /** The longest times, ms, by what happened meanwhile. */
  readonly #noted = new Map<string, number[]>();
  #longest = 0;
  #longestOfLate = 0;
  #isOver = false;
  readonly #running: Promise<void>;

  /** Calls `work` again and again until `stop`. */
  constructor(name: string, work: () => Promise<void>) {
    this.name = name;
    this.#running = this.#run(work);
  }

  get count(): number {
    return this.#times.length;
  }

  /** The longest time since the last call belongs to this. */
  note(what: string): void {
    const noted = this.#noted.get(what) ?? [];
    this.#noted.set(what, noted);
    noted.push(this.#longestOfLate);
    this.#longestOfLate = 0;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  /** How many clients, how long they took, and how long the slowest took during each kind of what was noted. */
  report(): string {
    const failed = this.failures.length === 0 ? '' : `, ${String(this.failures.length)} FAILED`;
    const all = `median ${at(this.#times, 0.5)} ms, p99 ${at(this.#times, 0.99)} ms, longest ${this.#longest.toFixed(0)} ms`;
    const noted = [...this.#noted].map(
      ([what, times]) =>
        `  slowest during ${what}: ${String(times.length)}, median ${at(times, 0.5)} ms, longest ${at(times, 1)} ms`,
    );
    return [`${this.name}: ${String(this.count)}, ${all}${failed}`, ...noted].join('\n');
  }

  async #run(work: () => Promise<void>): Promise<void> {
    while (!this.#isOver) {
      const from = performance.now();
      try {
        await work();
        const ms = performance.now() - from;
        this.#longest = Math.max(this.#longest, ms);
        this.#longestOfLate = Math.max(this.#longestOfLate, ms);
        if (this.#times.length < MAX_TIMES) this.#times.push(ms);
      } catch (error) {
        this.failures.push(`${this.name}: ${String(error)}`);
      }
      await sleep(PAUSE_MS);
    }
  }
}

/** The time that this share of all did not exceed, in whole ms. */
function at(times: readonly number[], share: number): string {
  const sorted = [...times].sort((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(0);
}

/** One connect without a second try. */
export function bareConnect(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}
