// Holds many streams open at once, to measure their memory and to check that each answers.
import type { Bmuxd } from '../../test/daemon/bmuxd.ts';
import { TestClient } from '../../test/embedded/client.ts';

/** Streams that are opened at the same time. */
const WIDTH = 10;

export interface Held {
  readonly clients: readonly TestClient[];
  /** The first reason why streams could not be opened. */
  readonly why: string | undefined;
  /** Number of streams that answer a Ping now. */
  ping(): Promise<number>;
  stop(): Promise<void>;
}

/** Opens `count` streams; those that fail are left out. */
export async function hold(count: number, open: () => Promise<TestClient>): Promise<Held> {
  const clients: TestClient[] = [];
  let why: string | undefined;
  let left = count;
  await Promise.all(
    Array.from({ length: WIDTH }, async () => {
      while (left-- > 0) {
        try {
          clients.push(await open());
        } catch (error) {
          why ??= error instanceof Error ? error.message : String(error);
        }
      }
    }),
  );
  return {
    clients,
    why,
    ping: async () => {
      const answers = await Promise.allSettled(clients.map((client) => client.ping()));
      return answers.filter(({ status }) => status === 'fulfilled').length;
    },
    stop: async () => {
      await Promise.allSettled(clients.map((client) => client.close()));
    },
  };
}

/** A stream through the broker, for `hold`. */
export async function throughBroker(daemon: Bmuxd, target: string): Promise<TestClient> {
  const { stream, info } = await daemon.open({ target });
  return new TestClient(stream, { epoch: info.epoch, limitMs: 30_000 });
}
