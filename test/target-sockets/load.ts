// Clients that come and go without a pause, as unmodified commands do: what went wrong for any of them is kept.
import { TestClient, type TestClientOptions } from '../embedded/client.ts';
import { connected } from './target-socket.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';

export interface Load {
  /** Clients that have come through to their end. */
  readonly done: number;
  /** What the others met, in order. */
  readonly failures: readonly string[];
  /** Resolves when so many more clients have come through; rejects when none comes through for 20 s. */
  more(count: number): Promise<void>;
  /** No new clients; resolves when the last one is over. */
  stop(): Promise<void>;
}

/** `workers` clients at a time at the socket `path`: connect, Hello, Ping, end. */
export function startLoad(path: string, workers: number, options: TestClientOptions = {}): Load {
  const failures: string[] = [];
  const waiting = new Set<() => void>();
  let done = 0;
  let stopped = false;
  const one = async (): Promise<void> => {
    const client = new TestClient(await connected(path), { limitMs: 20_000, ...options });
    try {
      await client.hello();
      await client.ping();
      await client.close();
    } finally {
      client.stream.destroy();
    }
  };
  const work = async (): Promise<void> => {
    while (!stopped) {
      try {
        await one();
        done += 1;
      } catch (error) {
        failures.push(String(error));
        // A refused connect fails at once: not a busy loop.
        await sleep(5);
      }
      for (const look of waiting) look();
    }
  };
  const all = Promise.all(Array.from({ length: workers }, work));
  return {
    get done() {
      return done;
    },
    failures,
    more: (count) =>
      new Promise((resolve, reject) => {
        const until = done + count;
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`not ${String(count)} more clients in 20 s: ${failures.slice(-3).join('; ')}`));
        }, 20_000);
        const look = (): void => {
          if (done < until) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
      }),
    stop: async () => {
      stopped = true;
      await all;
    },
  };
}
