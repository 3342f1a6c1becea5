// Request to first answer: the time that a short-lived command waits, with the broker and without.
import { TestClient } from '../../test/embedded/client.ts';
import { startBmuxd, type Bmuxd } from '../../test/daemon/bmuxd.ts';
import { SETTINGS, startFar, WAYS, type Far, type Way } from '../rig/far.ts';
import { timed, type Bench, type Measure, type Subject } from '../measure.ts';
import { onPath } from '../../test/real/index.ts';
import { shimPing, socatPing, type SocatTo } from '../rig/programs.ts';

/** A daemon that knows `far`, and nothing else. */
export function startDaemon(far: Pick<Far, 'config' | 'env'>): Promise<Bmuxd> {
  return startBmuxd({ usualLog: true, config: far.config, settings: SETTINGS, env: far.env });
}

/** ms from connecting to the streams socket to the answer of a Ping. The end of the stream is not timed. */
export async function askThroughBroker(daemon: Bmuxd, target: string): Promise<number> {
  let client: TestClient | undefined;
  const ms = await timed(async () => {
    const { stream, info } = await daemon.open({ target });
    client = new TestClient(stream, { epoch: info.epoch, limitMs: 20_000 });
    await client.ping();
  });
  await client?.close();
  return ms;
}

/** ms of a new connection, a Hello and the answer to a Ping. */
export async function askPlainly(far: Far, epoch: 3 | 4 = 4): Promise<number> {
  let client: TestClient | undefined;
  let stop: (() => Promise<void>) | undefined;
  const ms = await timed(async () => {
    const plain = await far.plain();
    stop = () => plain.stop();
    client = new TestClient(plain.stream, { epoch, limitMs: 20_000 });
    await client.hello();
    await client.ping();
  });
  await client?.close();
  await stop?.();
  return ms;
}

async function cold(bench: Bench, way: Way): Promise<void> {
  const far = bench.own('far end', await startFar({ way }));
  const named = (name: string): string => `${name} [${far.server}]`;
  let second = NaN;
  const first: Subject = {
    name: named('broker, first contact'),
    once: async () => {
      const daemon = await startDaemon(far);
      try {
        const ms = await askThroughBroker(daemon, far.target);
        second = await askThroughBroker(daemon, far.target);
        return ms;
      } finally {
        await daemon.stop();
      }
    },
  };
  // Measured in the same turn as the first request, because only that new daemon gets a second one.
  const again: Subject = { name: named('broker, second time'), once: () => Promise.resolve(second) };
  const plain: Subject = { name: 'without a broker', once: () => askPlainly(far) };
  const runs = bench.count(10, 1);
  const sides = await bench.inTurns(runs, [first, again, plain], false);
  const peer = sides.get(plain.name);
  for (const { name } of [first, again]) {
    const ours = sides.get(name);
    if (ours !== undefined && peer !== undefined)
      bench.figure({ what: `first answer, ${way}`, unit: 'ms', ours, peer });
  }
}

async function warm(bench: Bench, way: Way): Promise<void> {
  const far = bench.own('far end', await startFar({ way }));
  const daemon = bench.own('daemon', await startDaemon(far));
  await bench.compare(`first answer, ${way}`, 'ms', bench.count(200, 10), [
    { name: `broker, used before [${far.server}]`, once: () => askThroughBroker(daemon, far.target) },
    { name: 'without a broker', once: () => askPlainly(far) },
  ]);
}

async function programs(bench: Bench, way: Way): Promise<void> {
  const socat = onPath('socat');
  if (socat === undefined) {
    bench.gap(`bmux-stream as a process, ${way}`, 'skipped', 'socat is not installed');
    return;
  }
  const far = bench.own('far end', await startFar({ way }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const to: SocatTo = way === 'local' ? { path: far.socketPath } : { config: far.config };
  await bench.compare(`process, spawn to first answer, ${way}`, 'ms', bench.count(40, 5), [
    { name: `bmux-stream [${far.server}]`, once: () => shimPing(daemon, far.target) },
    { name: 'socat', once: () => socatPing(socat, to) },
  ]);
}

export const firstAnswer: Measure = {
  name: 'first-answer',
  about:
    'request to first answer per transport: fresh daemon, second time, used before; and bmux-stream as a process',
  run: async (bench) => {
    for (const way of WAYS) {
      await bench.part(`cold, ${way}`, () => cold(bench, way));
      await bench.part(`warm, ${way}`, () => warm(bench, way));
    }
    // socat supports neither iroh nor compressed blocks.
    for (const way of ['local', 'TLS plain'] as const)
      await bench.part(`processes, ${way}`, () => programs(bench, way));
  },
};
