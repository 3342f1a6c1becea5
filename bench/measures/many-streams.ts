// A thousand live streams: they stay open, and each answers a Ping.
import { startFar } from '../rig/far.ts';
import { startDaemon } from './first-answer.ts';
import { timed, type Bench, type Goal, type Measure } from '../measure.ts';
import { hold, throughBroker } from '../rig/streams.ts';
import { TestClient } from '../../test/embedded/client.ts';

async function many(bench: Bench, way: 'local' | 'TLS plain'): Promise<void> {
  const far = bench.own('far end', await startFar({ way, embedded: true }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const count = bench.amount(1000, 200);
  const plain = await hold(count, async () => {
    const { stream } = await far.plain();
    const client = new TestClient(stream, { limitMs: 30_000 });
    await client.hello();
    return client;
  });
  bench.own('plain streams', plain);
  const ours = bench.own('streams', await hold(count, () => throughBroker(daemon, far.target)));
  const answers: number[] = [];
  const plainAnswers: number[] = [];
  const sides = await bench.inTurns(bench.count(5, 2), [
    { name: 'broker [embedded server]', once: () => timed(async () => answers.push(await ours.ping())) },
    { name: 'without a broker', once: () => timed(async () => plainAnswers.push(await plain.ping())) },
  ]);
  const goal: Goal = {
    text: `${String(count)} answer`,
    met: ({ ours: got }) => got.p10 === count && got.p90 === count,
  };
  bench.figure({
    what: `live streams that answer, ${way}`,
    unit: 'streams',
    ours: { name: 'broker [embedded server]', values: answers.slice(1) },
    peer: { name: 'without a broker', values: plainAnswers.slice(1) },
    goal,
  });
  const [first, second] = [...sides.values()];
  if (first !== undefined && second !== undefined)
    bench.figure({
      what: `a Ping on all ${String(count)} at once, ${way}`,
      unit: 'ms',
      ours: first,
      peer: second,
    });
  if (ours.why !== undefined) bench.gap(`${String(count)} streams, ${way}`, 'failed', ours.why);
}

export const manyStreams: Measure = {
  name: 'many-streams',
  about: '1,000 live streams on the embedded server, every one answers a Ping',
  run: async (bench) => {
    for (const way of ['local', 'TLS plain'] as const)
      await bench.part(`1,000 streams, ${way}`, () => many(bench, way));
  },
};
