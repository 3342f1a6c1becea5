// What an idle daemon costs: wake-ups and CPU time of both processes, without a target and with three warm ones.
import { sleep } from '../../../daemon/base/async/sleep.ts';
import type { IrohRoute } from '../../../daemon/engine-protocol/plan.ts';
import { startBmuxd, type Bmuxd } from '../../../test/daemon/bmuxd.ts';
import type { Bench, Goal, Measure, Side } from '../../measure.ts';
import { SETTINGS, startFar, type Way } from '../../rig/far.ts';
import { startProgram } from '../../rig/processes.ts';
import { activityIn } from '../../rig/usage.ts';

const FEW: Goal = { text: '< 5 per s', met: ({ ours }) => ours.median < 5 };
const LIGHT: Goal = { text: '< 1 ms per s (0.1 % of a core)', met: ({ ours }) => ours.median < 1 };

/** ms after which a daemon is idle: it has started, and has returned the memory of its start. */
const SETTLE_MS = 75_000;
const WINDOW_MS = 30_000;

/** Both processes against a peer, in the same windows. */
async function watched(
  bench: Bench,
  what: string,
  daemon: Bmuxd,
  peer: { readonly name: string; readonly pids: readonly number[] },
  goals: { readonly wakeUps?: Goal; readonly cpu?: Goal },
): Promise<void> {
  const { pid, engines } = await daemon.status();
  await sleep(bench.amount(SETTLE_MS, SETTLE_MS / 3));
  const groups = [[pid, ...engines.map((engine) => engine.pid)], peer.pids];
  const sides = { wakeUps: [[], []] as number[][], cpuMs: [[], []] as number[][] };
  for (let run = 0; run < bench.count(5, 1); run += 1) {
    const activity = await activityIn(bench.amount(WINDOW_MS, WINDOW_MS / 2), groups);
    for (const [index, { wakeUps, cpuMs }] of activity.entries()) {
      sides.wakeUps[index]?.push(wakeUps);
      sides.cpuMs[index]?.push(cpuMs);
    }
  }
  const side = (name: string, values: readonly number[] | undefined): Side => ({
    name,
    values: values ?? [],
  });
  const ours = 'control and engine [embedded server]';
  bench.figure({
    what: `wake-ups, ${what}`,
    unit: 'per s',
    ours: side(ours, sides.wakeUps[0]),
    peer: side(peer.name, sides.wakeUps[1]),
    ...(goals.wakeUps === undefined ? {} : { goal: goals.wakeUps }),
  });
  bench.figure({
    what: `CPU time, ${what}`,
    unit: 'ms per s',
    ours: side(ours, sides.cpuMs[0]),
    peer: side(peer.name, sides.cpuMs[1]),
    ...(goals.cpu === undefined ? {} : { goal: goals.cpu }),
  });
}

async function withoutTargets(bench: Bench): Promise<void> {
  const daemon = bench.own('daemon', await startBmuxd({ usualLog: true, settings: SETTINGS }));
  // As many wake-ups as control and engine have together.
  const bare = [await startProgram('idle', { everyMs: 1000 }), await startProgram('idle', { everyMs: 1000 })];
  for (const one of bare) bench.own('bare process', one);
  const peer = {
    name: 'two bare Node processes, each with a timer of 1 s',
    pids: bare.map(({ pid }) => pid),
  };
  await watched(bench, 'no target', daemon, peer, {});
}

/** The route in the config of an iroh target. */
function routeIn(config: string): IrohRoute {
  const value = (key: string): string => new RegExp(`^${key} = "(.*)"$`, 'm').exec(config)?.[1] ?? '';
  return {
    transport: 'iroh',
    endpointId: value('endpoint_id'),
    ipAddr: value('iroh_ip_addr'),
    sshAuth: false,
  };
}

async function withWarmTargets(bench: Bench): Promise<void> {
  const ways: readonly Way[] = ['local', 'TLS zstd', 'iroh'];
  const configs: string[] = [];
  const env: Record<string, string> = {};
  let settings = SETTINGS;
  for (const way of ways) {
    const far = bench.own(`far end, ${way}`, await startFar({ way, embedded: true }));
    Object.assign(env, far.env);
    const name = way.split(' ', 1)[0]?.toLowerCase() ?? '';
    configs.push(far.config.replace('targets.far]', `targets.${name}]`));
    if (far.config !== '') settings += `[targets.${name}]\nwarm = true\n`;
  }
  const config = configs.join('');
  const daemon = bench.own('daemon', await startBmuxd({ usualLog: true, config, settings, env }));
  for (const target of ['tls', 'iroh']) await daemon.bmuxd(['warm', target]);
  const alone = bench.own('iroh alone', await startProgram('idle', { route: routeIn(config) }));
  const peer = { name: 'the iroh binding alone, one idle connection', pids: [alone.pid] };
  await watched(bench, 'three warm targets', daemon, peer, { wakeUps: FEW, cpu: LIGHT });
}

export const idle: Measure = {
  name: 'idle',
  about: 'wake-ups and CPU time a second of both processes: no target, three warm targets',
  run: async (bench) => {
    await bench.part('no target', () => withoutTargets(bench));
    await bench.part('three warm targets', () => withWarmTargets(bench));
  },
};
