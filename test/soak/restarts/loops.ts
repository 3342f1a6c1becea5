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

  /** The longest time since the last call, ms. */
  longestOfLate(): number {
    const ms = this.#longestOfLate;
    this.#longestOfLate = 0;
    return ms;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  /** In one line: how many clients, how long half of them took, and the longest. */
  report(): string {
    const sorted = [...this.#times].sort((a, b) => a - b);
    const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? NaN).toFixed(0);
    const failed = this.failures.length === 0 ? '' : `, ${String(this.failures.length)} FAILED`;
    const ms = `median ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${this.#longest.toFixed(0)} ms`;
    return `${this.name}: ${String(this.count)}, ${ms}${failed}`;
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
