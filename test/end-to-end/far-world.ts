// Starts a daemon with two embedded servers: one behind a TLS gateway and a proxy that delays, and one behind iroh in a process of its own.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { targetToml } from '../target-sockets/ways.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';

/** ms of the round trip to the TLS gateway: so long that the daemon keeps spares for it. */
const ROUND_TRIP_MS = 30;

export interface FarWorld {
  readonly bmuxd: Bmuxd;
  /** The server behind the target `far`. */
  readonly tls: Embedded;
  /** Path of the CA file of `far`, PEM. */
  readonly caFile: string;
  /** The server behind the target `home`. */
  readonly iroh: Embedded;
  /** Starts another server behind iroh. */
  readonly startIroh: () => Promise<Embedded>;
  /** Text of bmux.toml with only the target `home`, which leads to that server. */
  readonly tomlFor: (iroh: Embedded) => string;
  /** The row of a target in the status; undefined before its first use. */
  readonly row: (target: string) => Promise<UpstreamRow | undefined>;
  /** Opens a stream, waits for the answer to a Ping, and ends it. */
  readonly ask: (target: string) => Promise<{ readonly warm: boolean }>;
}

/** Everything is stopped after the test. `connectTimeoutMs` applies to each target. */
export async function startFarWorld(
  t: Test,
  options: {
    readonly settings?: string;
    readonly connectTimeoutMs: number;
    /** ms of the round trip to the TLS gateway. */
    readonly roundTripMs?: number;
    /** Maximum connections of the server behind the TLS gateway; default 64. */
    readonly connections?: number;
    /** ms that the server behind the TLS gateway waits for the first request and, while it is held, for its own answer; default 1500. */
    readonly handshakeTimeoutMs?: number;
    /** The server behind the TLS gateway answers nothing until the command `release`. */
    readonly held?: boolean;
    /** Environment of the daemon; overrides that of the fixture. */
    readonly env?: Readonly<Record<string, string>>;
  },
): Promise<FarWorld> {
  const bmuxd = await startBmuxd({
    settings: `iroh.relays = "disabled"\n${options.settings ?? ''}`,
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const tls = await launchEmbedded({
    socketPath: join(bmuxd.folder, 'tls.sock'),
    server: {
      epoch: 4,
      // During protocol detection a gateway that compresses holds an uncompressed Hello until this limit. A short limit frees its connection soon.
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? 1500,
      ...(options.connections === undefined ? {} : { connections: options.connections }),
    },
    tls: { compression: 'zstd', roundTripMs: options.roundTripMs ?? ROUND_TRIP_MS },
  });
  if (options.held === true) await tls.command({ do: 'hold' });
  const hosts: Embedded[] = [];
  const startIroh = async (): Promise<Embedded> => {
    const host = await launchEmbedded({
      socketPath: join(bmuxd.folder, `iroh-${hosts.length}.sock`),
      server: { epoch: 4 },
      iroh: { relays: 'disabled', compression: 'zstd' },
    });
    hosts.push(host);
    return host;
  };
  const iroh = await startIroh();
  t.teardown(async () => {
    await bmuxd.stop();
    await Promise.all([tls, ...hosts].map((server) => server.stop()));
  });
  const caFile = join(bmuxd.folder, 'ca.pem');
  await writeFile(caFile, tls.tls?.certPem ?? '');
  const common = { connect_timeout_ms: options.connectTimeoutMs };
  const far = {
    transport: 'tls',
    host: '127.0.0.1',
    port: tls.tls?.port,
    server_name: 'localhost',
    ca_file: caFile,
  };
  const tomlFor = (host: Embedded): string =>
    targetToml('home', {
      transport: 'iroh',
      endpoint_id: host.iroh?.endpointId,
      iroh_ip_addr: host.iroh?.address,
      ...common,
    });
  await bmuxd.configure('bmux.toml', targetToml('far', { ...far, ...common }) + tomlFor(iroh));
  return {
    bmuxd,
    tls,
    caFile,
    iroh,
    startIroh,
    tomlFor,
    row: async (target) => (await bmuxd.upstreams()).find((row) => row.target === target),
    ask: async (target) => {
      const { stream, info } = await bmuxd.open({ target });
      const client = new TestClient(stream, { epoch: info.epoch });
      await client.ping();
      stream.end();
      await client.ended();
      return { warm: info.warm };
    },
  };
}
