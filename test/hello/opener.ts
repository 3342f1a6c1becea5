// Opens streams as the engine does, without an engine. A second opener can read the protocol cache of the first, as after a restart.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Env } from '../../daemon/base/paths.ts';
import type { OpenedStream } from '../../daemon/engine/upstream/dialler.ts';
import type { Transports } from '../../daemon/engine/upstream/transports.ts';
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { addressOf } from '../../daemon/engine-protocol/address.ts';
import type { Client, Destination, Plan, Route } from '../../daemon/engine-protocol/plan.ts';
import type { Embedded } from '../embedded/launch.ts';
import { coldUpstreams } from './cold.ts';

export interface Opener {
  readonly protocolCache: ProtocolCache;
  readonly transports: Transports;
  /** The file of the protocol cache. */
  readonly cachePath: string;
  /** Warnings so far. */
  readonly warnings: readonly string[];
  open(plan: Plan, signal?: AbortSignal): Promise<OpenedStream>;
  /** Ends the stream gracefully and waits for it. */
  end(opened: OpenedStream): Promise<void>;
  close(): Promise<void>;
}

/** `cachePath`: the protocol cache file that another opener has written. */
export async function startOpener(options: { cachePath?: string; env?: Env } = {}): Promise<Opener> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-opener-'));
  const cachePath = options.cachePath ?? join(folder, 'protocol-cache.json');
  const warnings: string[] = [];
  const protocolCache = new ProtocolCache({
    path: cachePath,
    log: { warn: (message) => warnings.push(message) },
  });
  await protocolCache.load();
  const { upstreams, transports } = coldUpstreams(protocolCache, options.env);
  return {
    protocolCache,
    transports,
    cachePath,
    warnings,
    open: (plan, signal = new AbortController().signal) =>
      upstreams.for(plan.destination).openByDetection(plan, signal),
    end: ({ stream }) => endGracefully(stream),
    close: async () => {
      await upstreams.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** As `startOpener`; the opener is closed at the end of the test. */
export async function openerFor(t: Test, options: Parameters<typeof startOpener>[0] = {}): Promise<Opener> {
  const opener = await startOpener(options);
  t.teardown(() => opener.close());
  return opener;
}

export function planFor(
  route: Route,
  over: {
    readonly destination?: Partial<Destination>;
    readonly client?: Partial<Client>;
    readonly budgetMs?: number;
  } = {},
): Plan {
  return {
    destination: {
      label: 'prod',
      route,
      address: addressOf(route),
      context: 'c1',
      runtime: { name: 'default', socket: '/run/bmux/server.sock' },
      compression: route.transport === 'local' ? ['none'] : ['zstd', 'none'],
      compressionStated: false,
      connectTimeoutMs: 8000,
      warnings: [],
      ...over.destination,
    },
    client: {
      requestId: 'r1',
      name: 'test',
      principal: { id: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a' },
      ifRunning: false,
      warnings: [],
      ...over.client,
    },
    budgetMs: over.budgetMs ?? 8000,
  };
}

/** Routes to an embedded server: directly, through its TLS gateway, through its iroh gateway. */
export async function routesTo(
  { socketPath, tls, iroh }: Embedded,
  folder: string,
): Promise<{ readonly local: Route; readonly tls: Route; readonly iroh: Route }> {
  if (tls === undefined || iroh === undefined) throw new Error('start it with both gateways');
  const caFile = join(folder, 'ca.pem');
  await writeFile(caFile, tls.certPem);
  return {
    local: { transport: 'local', socketPath },
    tls: { transport: 'tls', host: tls.host, port: tls.port, serverName: 'localhost', caFile },
    iroh: { transport: 'iroh', endpointId: iroh.endpointId, ipAddr: iroh.address, sshAuth: false },
  };
}
