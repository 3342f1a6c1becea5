// Memory of both processes: idle, with streams, and after many streams.
import { connectUnix } from '../rig/plain.ts';
import { startFar, WAYS, type Far, type Way } from '../rig/far.ts';
import { startDaemon } from './first-answer.ts';
import type { Bench, Goal, Measure } from '../measure.ts';
import { startRelay } from '../rig/peers.ts';
import { startProgram } from '../rig/processes.ts';
import { settledPss } from '../rig/usage.ts';
import { hold, throughBroker } from '../rig/streams.ts';
import { requestStream, perSecond, upgradeWithPing } from '../rig/upgrade.ts';
import type { Bmuxd } from '../../test/daemon/bmuxd.ts';
import { TestClient } from '../../test/embedded/client.ts';
import { readFile } from 'node:fs/promises';
import { connect, type NetConnectOpts } from 'node:net';
import { once } from 'node:events';
import { sleep } from '../../daemon/base/async/sleep.ts';

const IDLE: Goal = { text: '<= 110 MB', met: ({ ours }) => ours.median <= 110 };
const STREAM: Goal = { text: '<= 80 KB', met: ({ ours }) => ours.median <= 80 };
const FLAT: Goal = { text: 'flat within 5 %', met: ({ ratio }) => ratio.median <= 1.05 };

async function pidsOf(daemon: Bmuxd): Promise<number[]> {
  const { pid, engines } = await daemon.status();
  return [pid, ...engines.map((engine) => engine.pid)];
}

/** ms after which a process is idle: it has started, and returned the memory that its start needed. */
const IDLE_MS = 15_000;

async function idle(bench: Bench): Promise<void> {
  const ours: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < bench.count(5, 2); run += 1) {
    const daemon = await startDaemon({ config: '', env: {} });
    try {
      await sleep(IDLE_MS);
      ours.push(await settledPss(await pidsOf(daemon)));
    } finally {
      await daemon.stop();
    }
    const two = [await startProgram('idle', {}), await startProgram('idle', {})];
    await sleep(IDLE_MS);
    bare.push(await settledPss(two.map(({ pid }) => pid)));
    for (const program of two) await program.stop();
  }
  bench.figure({
    what: 'both processes, idle',
    unit: 'MB',
    ours: { name: 'control and engine', values: ours },
    peer: { name: 'two bare Node processes', values: bare },
    goal: IDLE,
  });
}

/** A stream through a relay, after the Hello. */
async function greeted(listen: NetConnectOpts): Promise<TestClient> {
  const socket = connect({ ...listen, allowHalfOpen: true });
  await once(socket, 'connect');
  const client = new TestClient(socket, { limitMs: 30_000 });
  await client.hello();
  return client;
}

/** The memory of one stream is measured between these numbers of streams, because the first streams also allocate shared memory. */
const SOME = 100;
const MANY = 400;

/** KB that one more idle stream adds to `pids`, while `SOME` streams are open. */
async function weightOfOne(
  pids: readonly number[],
  more: number,
  open: () => Promise<TestClient>,
): Promise<number> {
  const before = await settledPss(pids);
  const held = await hold(more, open);
  const after = await settledPss(pids);
  await held.stop();
  return ((after - before) * 1000) / Math.max(1, held.clients.length);
}

/** The same for a Node pipeline to the same address. */
async function pipelinePerStream(far: Far, more: number): Promise<number> {
  const port = Number(/port = (\d+)/.exec(far.config)?.[1] ?? 0);
  const caFile = /ca_file = "([^"]+)"/.exec(far.config)?.[1] ?? '';
  const to =
    far.way === 'local' ? { path: far.socketPath } : { port, caFile, ca: await readFile(caFile, 'utf8') };
  const relay = await startRelay('Node pipeline', to);
  try {
    const held = await hold(SOME, () => greeted(relay.listen));
    const weight = await weightOfOne([relay.pid ?? NaN], more, () => greeted(relay.listen));
    await held.stop();
    return weight;
  } finally {
    await relay.stop();
  }
}

async function withStreams(bench: Bench, way: Way): Promise<void> {
  const far = bench.own('far end', await startFar({ way, embedded: true }));
  const more = bench.amount(MANY - SOME, SOME);
  const comparable = way === 'local' || way === 'TLS plain';
  const before: number[] = [];
  const after: number[] = [];
  const perStream: number[] = [];
  const pipeline: number[] = [];
  for (let run = 0; run < bench.count(3, 1); run += 1) {
    const daemon = await startDaemon(far);
    try {
      // The first stream loads shared code, which must not count for the other streams.
      const first = await hold(1, () => throughBroker(daemon, far.target));
      await first.stop();
      const pids = await pidsOf(daemon);
      const one = await settledPss(pids);
      const held = await hold(SOME, () => throughBroker(daemon, far.target));
      const many = await settledPss(pids);
      const answering = await held.ping();
      if (answering < SOME)
        bench.gap(
          `${String(SOME)} streams, ${way}`,
          'failed',
          `${String(answering)} answer: ${held.why ?? ''}`,
        );
      before.push(one);
      after.push(many);
      if (comparable) perStream.push(await weightOfOne(pids, more, () => throughBroker(daemon, far.target)));
      await held.stop();
    } finally {
      await daemon.stop();
    }
    if (comparable) pipeline.push(await pipelinePerStream(far, more));
  }
  bench.figure({
    what: `both processes with ${String(SOME)} idle streams, ${way}`,
    unit: 'MB',
    ours: { name: 'control and engine [embedded server]', values: after },
    peer: { name: 'the same without streams', values: before },
  });
  if (!comparable) return;
  bench.figure({
    what: `one more idle stream, ${way}`,
    unit: 'KB',
    ours: { name: 'broker', values: perStream },
    peer: { name: 'Node pipeline', values: pipeline },
    ...(way === 'TLS plain' ? { goal: STREAM } : {}),
  });
}

async function afterHandOffs(bench: Bench): Promise<void> {
  const far = bench.own('far end', await startFar({ way: 'local', embedded: true }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const asked = upgradeWithPing(daemon, 'local');
  // Checks the socket first: with an unreachable server the memory would not grow either.
  (await connectUnix(far.socketPath)).destroy();
  const some = bench.amount(10_000, 500);
  const all = bench.amount(100_000, 3000);
  await perSecond(some, 16, () => requestStream(daemon, asked));
  const pids = await pidsOf(daemon);
  const before = await settledPss(pids);
  await perSecond(all - some, 16, () => requestStream(daemon, asked));
  bench.figure({
    what: `after ${String(all)} hand-offs`,
    unit: 'MB',
    ours: { name: 'control and engine', values: [await settledPss(pids)] },
    peer: { name: `the same after ${String(some)}`, values: [before] },
    goal: FLAT,
  });
}

export const memory: Measure = {
  name: 'memory',
  about: 'PSS of both processes: idle, with 100 streams per transport, per stream, after 100,000 hand-offs',
  run: async (bench) => {
    await bench.part('idle', () => idle(bench));
    const ways = bench.quick ? WAYS.filter((way) => way !== 'TLS zstd' && way !== 'iroh') : WAYS;
    for (const way of ways) await bench.part(`100 streams, ${way}`, () => withStreams(bench, way));
    await bench.part('after hand-offs', () => afterHandOffs(bench));
  },
};
