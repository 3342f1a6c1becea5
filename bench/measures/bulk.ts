// Bytes per second one way, up and down, through the broker and through other relays.
import { connect, type NetConnectOpts } from 'node:net';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { startBmuxd, type Bmuxd } from '../../test/daemon/bmuxd.ts';
import { selfSigned } from '../../test/embedded/certificate.ts';
import { drain, greet, order, pour, supplies, type Order } from '../rig/bulk-order.ts';
import { SETTINGS, tlsTarget } from '../rig/far.ts';
import { Skip, timed, type Bench, type Goal, type Measure, type Subject } from '../measure.ts';
import { RELAYS, startRelay, type RelayName, type RelayTo } from '../rig/peers.ts';
import { startProgram } from '../rig/processes.ts';

const MB = 1e6;
const SUPPLIES = supplies();

/** MB/s of one order on a stream after the Hello. */
export async function move(stream: Duplex, what: Order): Promise<number> {
  await order(stream, what);
  const ms = await timed(async () => {
    if (what.way === 'down') return drain(stream, what.bytes);
    await pour(stream, what.bytes, SUPPLIES[what.kind]);
    return drain(stream, 1);
  });
  stream.on('error', () => undefined); // later errors are not part of the measure
  stream.end();
  if (!stream.readableEnded) await once(stream, 'end', { signal: AbortSignal.timeout(10_000) });
  stream.destroy();
  return what.bytes / MB / (ms / 1000);
}

export async function moveThroughBroker(daemon: Bmuxd, target: string, what: Order): Promise<number> {
  const { stream } = await daemon.open({ target });
  return move(stream, what);
}

/** The same on a connection without a broker, on which the bench sends the Hello. */
async function movePlainly(to: NetConnectOpts, what: Order): Promise<number> {
  const socket = connect({ ...to, allowHalfOpen: true });
  await once(socket, 'connect');
  await greet(socket);
  return move(socket, what);
}

interface BulkFar {
  readonly folder: string;
  readonly path: string;
  readonly tls: { readonly port: number; readonly caFile: string; readonly ca: string };
  stop(): Promise<void>;
}

/** The bulk server on a Unix socket and on TLS. */
export async function startBulkFar(): Promise<BulkFar> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-bulk-'));
  const { certPem, keyPem } = selfSigned();
  const path = join(folder, 'server.sock');
  const caFile = join(folder, 'ca.pem');
  await writeFile(caFile, certPem);
  const server = await startProgram('bulk-server', { path, tls: { certPem, keyPem } });
  return {
    folder,
    path,
    tls: { port: server.ready.tlsPort, caFile, ca: certPem },
    stop: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const GOALS: Readonly<Partial<Record<RelayName, Goal>>> = {
  socat: { text: '>= socat', met: ({ ratio }) => ratio.median >= 1 },
  'Node pipeline': { text: '>= 0.95 of Node pipeline', met: ({ ratio }) => ratio.median >= 0.95 },
};

async function compareRelays(bench: Bench, kind: 'local' | 'TLS', way: 'up' | 'down'): Promise<void> {
  const far = bench.own('bulk server', await startBulkFar());
  const daemon = bench.own(
    'daemon',
    await startBmuxd({
      usualLog: true,
      config: tlsTarget('far', far.tls.port, far.tls.caFile),
      settings: `${SETTINGS}[targets.far]\ncompression = 'none'\n`,
      env: { BMUX_RUNTIME_DIR: far.folder },
    }),
  );
  const bytes = bench.amount(256, 16) * 1024 * 1024;
  const what: Order = { way, bytes, kind: 'noise' };
  const target = kind === 'local' ? 'local' : 'far';
  const subjects: [Subject, ...Subject[]] = [
    { name: 'broker', once: () => moveThroughBroker(daemon, target, what) },
  ];
  const to: RelayTo = kind === 'local' ? { path: far.path } : far.tls;
  for (const name of RELAYS) {
    try {
      const relay = bench.own(name, await startRelay(name, to));
      subjects.push({ name, once: () => movePlainly(relay.listen, what) });
    } catch (error) {
      if (!(error instanceof Skip)) throw error;
      bench.gap(`${kind} bulk ${way}, ${name}`, 'skipped', error.message);
    }
  }
  await bench.compare(`${kind} bulk ${way}`, 'MB/s', bench.count(7, 2), subjects, {
    goals: kind === 'TLS' ? GOALS : {},
  });
}

export const bulk: Measure = {
  name: 'bulk',
  about: 'bytes per second one way, local and TLS, beside socat, Node pipeline, stunnel, haproxy, ssh',
  run: async (bench) => {
    for (const kind of ['local', 'TLS'] as const)
      for (const way of bench.quick && kind === 'local' ? (['down'] as const) : (['up', 'down'] as const))
        await bench.part(`${kind} bulk ${way}`, () => compareRelays(bench, kind, way));
  },
};
