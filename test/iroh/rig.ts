// For tests of the iroh pool: embedded gateways, each in a separate process, and pools that are closed at the end of the test.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import type { IrohHost, IrohStream, NamedDialling } from '../../daemon/iroh/host.ts';
import { IrohPool, type IrohPoolOptions } from '../../daemon/iroh/pool.ts';
import type { Named } from '../../daemon/iroh/reconnect.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';

/** The folder of this test file; it is removed at the end. */
export const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pool-'));
t.teardown(async () => {
  await rm(folder, { recursive: true, force: true });
  // Without this the binding keeps the process for 30 s when a peer was stopped.
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

/** A pool with an `IrohHost` for each endpoint id, like the upstreams of an engine. */
export class HostsOfPool {
  readonly pool: IrohPool;
  readonly #hosts = new Map<string, IrohHost>();

  constructor(options: IrohPoolOptions) {
    this.pool = new IrohPool(options);
  }

  get size(): number {
    return this.pool.size;
  }

  of({ endpointId }: IrohRoute): IrohHost {
    const host = this.#hosts.get(endpointId) ?? this.pool.host();
    this.#hosts.set(endpointId, host);
    return host;
  }

  stream(route: IrohRoute, limits: NamedDialling): Promise<IrohStream> {
    return this.of(route).stream(route, limits);
  }

  isWarm(route: IrohRoute): boolean {
    return this.of(route).connections.isWarm(route);
  }

  isDialling(route: IrohRoute): boolean {
    return this.of(route).isDialling(route);
  }

  moved(from: IrohRoute, to: IrohRoute, named: Named): void {
    const handover = this.of(from).unrefer(from, named, to);
    if (handover !== undefined) this.of(to).refer(to, named, handover);
  }

  drop(route: IrohRoute): void {
    this.of(route).drop(route);
  }

  markStale(): void {
    this.pool.markStale();
  }

  retire(): void {
    for (const host of this.#hosts.values()) host.retireForGood();
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}

export function poolFor(t: Test, options: Partial<IrohPoolOptions> = {}): HostsOfPool {
  const pool = new HostsOfPool({ relays: () => 'disabled', ...options });
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

export async function greet({ stream }: Pick<IrohStream, 'stream'>): Promise<TestClient> {
  const client = new TestClient(compressed(stream));
  await client.hello();
  return client;
}

export const connectionsOf = async (server: Embedded): Promise<number> =>
  (await server.status()).iroh?.connections ?? 0;
export const nothingHeld = (server: Embedded): Promise<void> =>
  waitFor('all connections to be closed', async () => (await server.status()).connections === 0);
