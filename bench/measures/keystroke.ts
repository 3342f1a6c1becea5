// The latency of one keystroke and its echo at a terminal, beside idle streams and beside a download.
import { once } from 'node:events';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { startBmuxd, type Bmuxd } from '../../test/daemon/bmuxd.ts';
import { ECHO, greet, order } from '../rig/bulk-order.ts';
import { startBulkFar } from './bulk.ts';
import { SETTINGS, tlsTarget } from '../rig/far.ts';
import type { Bench, Goal, Measure, Side } from '../measure.ts';
import { connectUnix, dialTls } from '../rig/plain.ts';
import { startProgram } from '../rig/processes.ts';
import type { DownloadOptions } from '../process/download.ts';
import { quantile } from '../statistics.ts';
import { hold, throughBroker } from '../rig/streams.ts';

const KEY = Buffer.from('k');

/** Median and tail latency, ms, one value each per batch. */
interface Felt {
  readonly p50: number[];
  readonly p99: number[];
}

/** Sends `keys` keys, each after the echo of the one before. */
export async function press(stream: Duplex, keys: number, felt: Felt): Promise<void> {
  const values: number[] = [];
  stream.resume();
  for (let key = 0; key < keys; key += 1) {
    const start = performance.now();
    const echoed = once(stream, 'data', { signal: AbortSignal.timeout(10_000) });
    stream.write(KEY);
    await echoed;
    values.push(performance.now() - start);
  }
  values.sort((a, b) => a - b);
  felt.p50.push(quantile(values, 0.5));
  felt.p99.push(quantile(values, 0.99));
}

interface Scene {
  readonly daemon: Bmuxd;
  /** A stream with echo through the broker, and one without it. */
  readonly ours: Duplex;
  readonly plain: Duplex;
  /** The same echo through a relay with `pipeline()`, and the address of a download through the same process. */
  readonly relayed: Duplex;
  readonly relayedBulkPath: string;
  readonly bulkPath: string;
  readonly idle: () => Promise<void>;
}

/** Two servers, one for echoes and one for downloads, so that the servers do not slow each other down. */
async function scene(bench: Bench, way: 'local' | 'TLS'): Promise<Scene> {
  const echo = bench.own('echo server', await startBulkFar());
  const bulk = bench.own('bulk server', await startBulkFar());
  const daemon = bench.own(
    'daemon',
    await startBmuxd({
      usualLog: true,
      config:
        tlsTarget('echo', echo.tls.port, echo.tls.caFile) + tlsTarget('bulk', bulk.tls.port, bulk.tls.caFile),
      settings: `${SETTINGS}[targets.echo]\ncompression = 'none'\n[targets.bulk]\ncompression = 'none'\n`,
      env: { BMUX_RUNTIME_DIR: echo.folder },
    }),
  );
  const target = way === 'local' ? 'local' : 'echo';
  const { stream: ours } = await daemon.open({ target });
  await order(ours, ECHO);
  const plain =
    way === 'local'
      ? await connectUnix(echo.path)
      : (await dialTls({ ...echo.tls, compression: 'none' })).stream;
  await greet(plain);
  await order(plain, ECHO);
  const near = { echo: join(echo.folder, 'near-echo.sock'), bulk: join(echo.folder, 'near-bulk.sock') };
  bench.own(
    'Node pipeline',
    await startProgram('pipeline-relay', {
      ways: [
        { listen: near.echo, to: way === 'local' ? { path: echo.path } : echo.tls },
        { listen: near.bulk, to: bulk.tls },
      ],
    }),
  );
  const relayed = await connectUnix(near.echo);
  await greet(relayed);
  await order(relayed, ECHO);
  for (const stream of [ours, plain, relayed])
    bench.own('echo', {
      stop: () => {
        stream.on('error', () => undefined);
        stream.destroy();
        return Promise.resolve();
      },
    });
  return {
    daemon,
    ours,
    plain,
    relayed,
    relayedBulkPath: near.bulk,
    bulkPath: bulk.path,
    idle: async () => {
      bench.own('idle streams', await hold(100, () => throughBroker(daemon, target)));
    },
  };
}

export const felt = (): Felt => ({ p50: [], p99: [] });

export function report(
  bench: Bench,
  what: string,
  ours: Felt,
  plain: Felt,
  goals: { readonly p50?: Goal; readonly p99?: Goal },
  others: { readonly relayed?: Felt; readonly name?: string } = {},
): void {
  const { relayed, name: peerName = 'without a broker' } = others;
  for (const quantileName of ['p50', 'p99'] as const) {
    const side = (name: string, from: Felt): Side => ({ name, values: from[quantileName].slice(1) });
    const goal = goals[quantileName];
    const figure = { what: `${what}, ${quantileName}`, unit: 'ms', ours: side('broker', ours) } as const;
    const peer = side(peerName, plain);
    bench.figure({ ...figure, peer, ...(goal === undefined ? {} : { goal }) });
    if (relayed !== undefined) bench.figure({ ...figure, peer: side('Node pipeline', relayed) });
  }
}

const MIDDLE: Goal = { text: '<= 0.10 ms added', met: ({ added }) => added.median <= 0.1 };
const TAIL: Goal = { text: '<= 1.0 ms added', met: ({ added }) => added.median <= 1 };
const BUSY_TAIL: Goal = { text: '<= 5 ms', met: ({ ours }) => ours.median <= 5 };

async function besideIdle(bench: Bench, way: 'local' | 'TLS'): Promise<void> {
  const { ours, plain, idle } = await scene(bench, way);
  await idle();
  const [broker, bare] = [felt(), felt()];
  const keys = bench.amount(300, 100);
  for (let turn = 0; turn <= bench.count(20, 5); turn += 1) {
    await press(ours, keys, broker);
    await press(plain, keys, bare);
  }
  const goals = way === 'local' ? { p50: MIDDLE, p99: TAIL } : {};
  report(bench, `keystroke beside 100 idle streams, ${way}`, broker, bare, goals);
}

async function besideDownload(bench: Bench, way: 'local' | 'TLS'): Promise<void> {
  const { daemon, ours, plain, relayed, relayedBulkPath, bulkPath } = await scene(bench, way);
  const [broker, bare, pipelined] = [felt(), felt(), felt()];
  const keys = bench.amount(200, 60);
  const beside = async (from: DownloadOptions['from'], stream: Duplex, into: Felt): Promise<void> => {
    const download = await startProgram('download', { from }, daemon.env);
    await press(stream, keys, into);
    await download.stop();
  };
  // Each side is measured beside a download of its own kind only.
  for (let turn = 0; turn <= bench.count(10, 2); turn += 1) {
    await beside({ socketPath: daemon.socketPath, target: 'bulk' }, ours, broker);
    await beside({ path: bulkPath }, plain, bare);
    await beside({ path: relayedBulkPath }, relayed, pipelined);
  }
  report(
    bench,
    `keystroke beside a TLS download, ${way}`,
    broker,
    bare,
    { p99: BUSY_TAIL },
    { relayed: pipelined },
  );
}

export const keystroke: Measure = {
  name: 'keystroke',
  about: 'one keystroke and its echo beside 100 idle streams, and beside a bulk download',
  run: async (bench) => {
    for (const way of ['local', 'TLS'] as const) {
      await bench.part(`beside idle streams, ${way}`, () => besideIdle(bench, way));
      if (!bench.quick || way === 'local')
        await bench.part(`beside a download, ${way}`, () => besideDownload(bench, way));
    }
  },
};
