// What tests of the iroh pool share: embedded gateways, each in a process of its own, and pools that end with the test.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import { IrohPool, type IrohStream } from '../../daemon/iroh/pool.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';

/** Of this test file; it goes with it. */
export const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pool-'));
t.teardown(async () => {
  await rm(folder, { recursive: true, force: true });
  // The binding holds the process for 30 s after a peer that was stopped.
  setTimeout(() => process.exit(), 500);
});
let servers = 0;

export async function serve(t: Test, allowedKeys?: readonly string[]): Promise<Embedded> {
  const server = await launchEmbedded({
    socketPath: join(folder, `${(servers += 1)}.sock`),
    server: { epoch: 4, connections: 1000 },
    iroh: { relays: 'disabled', compression: 'zstd', ...(allowedKeys && { allowedKeys }) },
  });
  t.teardown(() => server.stop());
  return server;
}

export function poolFor(t: Test, options: Partial<ConstructorParameters<typeof IrohPool>[0]> = {}): IrohPool {
  const pool = new IrohPool({ relays: () => 'disabled', ...options });
  t.teardown(() => pool.close());
  return pool;
}

export function routeTo({ iroh }: Embedded, agentSocket?: string | null): IrohRoute {
  const { endpointId = '', address = '' } = iroh ?? {};
  return {
    transport: 'iroh',
    endpointId,
    ipAddr: address,
    sshAuth: agentSocket !== undefined,
    ...(agentSocket === null || agentSocket === undefined ? {} : { agentSocket }),
  };
}

export const wait = (ms = 8000, signal: AbortSignal = new AbortController().signal) => ({
  label: 'host',
  deadline: new Deadline(ms),
  signal,
});

export async function greet({ stream }: IrohStream): Promise<TestClient> {
  const client = new TestClient(compressed(stream));
  await client.hello();
  return client;
}

export const connectionsOf = async (server: Embedded): Promise<number> =>
  (await server.status()).iroh?.connections ?? 0;
export const nothingHeld = (server: Embedded): Promise<void> =>
  waitFor('the connections to come back', async () => (await server.status()).connections === 0);
