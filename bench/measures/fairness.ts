// The first answer of a healthy target while a crowd of requests to a mute one arrives, and while it waits.
import { setTimeout as sleep } from 'node:timers/promises';
import { startBmuxd, type Bmuxd } from '../../test/daemon/bmuxd.ts';
import { waitFor } from '../../test/real/index.ts';
import type { Bench, Goal, Measure } from '../measure.ts';
import { SETTINGS, startFar } from '../rig/far.ts';
import { startProgram } from '../rig/processes.ts';
import { requestStream, upgradeFor, upgradeWithPing } from '../rig/upgrade.ts';
import { quantile } from '../statistics.ts';

const CROWD = 1000;
/** ms of a look: without the crowd, while it arrives, and while it waits. */
const LOOK_MS = 2000;
/** ms after which each of the crowd has begun its TLS dial (`daemon/transport/tls/dial-pace.ts`), also on a busy machine. */
const DIALLED_MS = 16_000;
/** ms of rest before a look. */
const REST_MS = 1000;
/** Most of the crowd that may be left when the next turn begins. */
const LIMIT_MS = 60_000;

const FAIR: Goal = { text: '<= 2 times its normal', met: ({ ratio }) => ratio.median <= 2 };

/** Values of each turn, ms. */
class Look {
  readonly p50: number[] = [];
  readonly p99: number[] = [];

  /** A request every `everyMs`, whether the one before has its answer or not: a stall delays all that come in it. */
  async take(ms: number, everyMs: number, once: () => Promise<number>): Promise<void> {
    const since = performance.now();
    const asked: Promise<number>[] = [];
    for (let next = 0; next < ms; next += everyMs) {
      await sleep(Math.max(0, since + next - performance.now()));
      asked.push(once());
    }
    const values = (await Promise.all(asked)).sort((a, b) => a - b);
    this.p50.push(quantile(values, 0.5));
    this.p99.push(quantile(values, 0.99));
  }
}

interface Scene {
  readonly way: 'local' | 'TLS zstd';
  readonly everyMs: number;
  /** How many of the crowd may wait. Others are refused. */
  readonly mayWait: number;
  /** ms in which the crowd arrives; 0: at once. */
  readonly overMs: number;
}

async function beside(bench: Bench, { way, everyMs, mayWait, overMs }: Scene): Promise<void> {
  const far = bench.own('far end', await startFar({ way, embedded: true }));
  const mute = bench.own('mute gateway', await startProgram('mute-gateway', {}));
  const target = `[connections.targets.mute]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(mute.ready.port)}\nconnect_timeout_ms = 300000\n`;
  const daemon = bench.own(
    'daemon',
    await startBmuxd({
      usualLog: true,
      config: far.config + target,
      settings: `streams.max_waiting = ${String(mayWait)}\n${SETTINGS}`,
      env: far.env,
    }),
  );
  const asked = upgradeWithPing(daemon, far.target);
  const once = (): Promise<number> => requestStream(daemon, asked);
  const crowd = { path: daemon.streamsPath, request: upgradeFor(daemon, 'mute'), clients: CROWD, overMs };
  const [alone, arrives, waits] = [new Look(), new Look(), new Look()];
  for (let turn = 0; turn < bench.count(8, 2); turn += 1) {
    const many = await startProgram('crowd', crowd);
    await sleep(REST_MS);
    await alone.take(LOOK_MS, everyMs, once);
    process.kill(many.pid, 'SIGUSR2');
    const since = performance.now();
    await arrives.take(LOOK_MS, everyMs, once);
    await sleep(Math.max(0, since + DIALLED_MS - performance.now()));
    await waits.take(LOOK_MS, everyMs, once);
    bench.say(`  ${String(await waitingIn(daemon))} requests wait`);
    await many.stop();
    await waitFor('the crowd to be gone', async () => (await waitingIn(daemon)) === 0, LIMIT_MS);
  }
  const pace = overMs === 0 ? 'at once' : `in ${String(overMs / 1000)} s`;
  const crowdIs = `${String(CROWD)} requests to a mute target, ${pace}, of which ${String(mayWait)} may wait,`;
  for (const [when, look] of [
    ['arrive', arrives],
    ['wait', waits],
  ] as const)
    for (const name of ['p50', 'p99'] as const)
      bench.figure({
        what: `first answer, ${way}, ${name}`,
        unit: 'ms',
        ours: { name: `while ${crowdIs} ${when}`, values: look[name] },
        peer: { name: 'alone', values: alone[name] },
        ...(name === 'p99' ? { goal: FAIR } : {}),
      });
}

async function waitingIn(daemon: Bmuxd): Promise<number> {
  const { streams } = await daemon.status();
  return streams;
}

export const fairness: Measure = {
  name: 'fairness',
  about: 'first answer of a healthy target while 1,000 requests to a mute one arrive, and while they wait',
  run: async (bench) => {
    for (const way of ['local', 'TLS zstd'] as const)
      for (const overMs of [LOOK_MS, 0])
        for (const mayWait of [256, CROWD])
          await bench.part(`${String(mayWait)} wait, ${way}, ${String(overMs)} ms`, () =>
            beside(bench, { way, everyMs: way === 'local' ? 10 : 40, mayWait, overMs }),
          );
  },
};
