// A server 50 ms away: the cost of an unmodified bmux through a target socket, and of a first contact, in round trips.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bmuxd } from '../../test/daemon/bmuxd.ts';
import { waitFor } from '../../test/real/index.ts';
import { realEnv } from '../../test/real/server.ts';
import { bmuxOrSkip, LIST, ownClient } from './command.ts';
import { startFar, type Far, type Way } from '../rig/far.ts';
import { askPlainly, askThroughBroker, startDaemon } from './first-answer.ts';
import { notYet, type Bench, type Goal, type Measure, type Subject } from '../measure.ts';
import { startFarIroh } from '../rig/namespace.ts';
import { runToEnd } from '../rig/programs.ts';

const ROUND_TRIP_MS = 50;
/** ms that a target socket may take to appear after the daemon is ready. */
const TARGET_SOCKET_MS = 3000;

const FAR_WAYS = ['TLS plain', 'TLS zstd', 'iroh'] as const satisfies readonly Way[];
type FarWay = (typeof FAR_WAYS)[number];

const farAt = (way: FarWay, roundTripMs = ROUND_TRIP_MS): Promise<Far> =>
  way === 'iroh' ? startFarIroh(roundTripMs) : startFar({ way, roundTripMs });

/** Converts ms to measured round trips of the path, which are longer than 50 ms: timers fire late, and each half of a bridge must wake up. */
async function tripsOf(bench: Bench, far: Far, what: string): Promise<(subject: Subject) => Subject> {
  const { path } = far;
  if (path === undefined) throw new Error('a far end without a path');
  const name = 'one byte and its echo';
  const sides = await bench.inTurns(bench.count(20, 4), [{ name, once: () => path.echo() }]);
  const values = sides.get(name)?.values ?? [];
  const held = values.map(() => ROUND_TRIP_MS);
  const { compared } = bench.figure({
    what: `round trip of the path, ${what}`,
    unit: 'ms',
    ours: { name, values },
    peer: { name: 'what it holds', values: held },
  });
  const tripMs = compared.ours.median;
  return (subject) => ({ name: subject.name, once: async () => (await subject.once()) / tripMs });
}

/** The environment that `bmuxd env TARGET` prints, with folders of its own. */
async function targetSocketEnv(
  bench: Bench,
  daemon: Bmuxd,
  far: Far,
): Promise<Readonly<Record<string, string>>> {
  const folder = join(daemon.folder, 'd', 'targets', far.target);
  await waitFor('the target socket', () => existsSync(join(folder, 'server.sock')), TARGET_SOCKET_MS).catch(
    () => {
      throw notYet('target sockets');
    },
  );
  const own = await mkdtemp(join(tmpdir(), 'bmuxd-client-'));
  bench.own('client', { stop: () => rm(own, { recursive: true, force: true }) });
  return {
    ...(await realEnv(own)),
    ...far.env,
    BMUX_RUNTIME_DIR: folder,
    BMUX_TARGET: 'local',
    BMUX_RUNTIME_NAME: '',
    BMUXD_SOCKET: daemon.socketPath,
  };
}

const ONE_TRIP: Goal = { text: '<= 1.10 round trips added', met: ({ added }) => added.median <= 1.1 };
const FOUR_TRIPS: Goal = {
  text: '<= 4.4 round trips added: three connections with four questions, none dials',
  met: ({ added }) => added.median <= 4.4,
};
const WITHIN_ONE: Goal = { text: '<= 1 round trip added', met: ({ added }) => added.median <= 1 };
const FAST: Goal = {
  text: '<= 85 ms and >= 3 times faster',
  met: ({ ours, ratio }) => ours.median <= 85 && ratio.median <= 1 / 3,
};

/** Gateways are pinned at the first contact, before the first turn that counts. */
const TRUST_NEW = '[connections.tls_trust]\nmode = "trust_new"\n';

function pinned({ config }: Far): string {
  return TRUST_NEW + config.replace(/^ca_file.*\n/m, '');
}

/** A real bmux through the target socket, and the same command at the server's own socket, which shows the cost of its start. */
async function throughTargetSocket(bench: Bench, way: FarWay, isPinned = false): Promise<void> {
  const program = bmuxOrSkip();
  const far = bench.own('far end', await farAt(way));
  const daemon = bench.own('daemon', await startDaemon(isPinned ? { ...far, config: pinned(far) } : far));
  const what = isPinned ? `${way}, known by its pin` : way;
  const env = await targetSocketEnv(bench, daemon, far);
  const near = 'at the server itself';
  const inRoundTrips = await tripsOf(bench, far, `target socket, ${what}`);
  const command = (args: readonly string[]): [Subject, Subject] => [
    inRoundTrips({ name: 'bmux, target socket', once: () => runToEnd(program, args, env) }),
    inRoundTrips({ name: near, once: () => runToEnd(program, args, far.clientEnv) }),
  ];
  await bench.compare(`list-sessions, ${what}, 50 ms`, 'round trips', bench.count(20, 4), command(LIST), {
    goals: { [near]: ONE_TRIP },
  });
  if (isPinned) return;
  // Four in a row without a pause: the slowest shows whether a connection waited for a dial.
  const slowest = ({ name, once }: Subject): Subject => ({
    name,
    once: async () => {
      const four: number[] = [];
      while (four.length < 4) four.push(await once());
      return Math.max(...four);
    },
  });
  const [ours, bare] = command(['server', 'status']);
  await bench.compare(
    `server status, slowest of four in a row, ${way}, 50 ms`,
    'round trips',
    bench.count(5, 2),
    [slowest(ours), slowest(bare)],
    { goals: { [near]: FOUR_TRIPS } },
  );
}

async function wholeCommand(bench: Bench): Promise<void> {
  const program = bmuxOrSkip();
  const far = bench.own('far end', await farAt('TLS plain'));
  const daemon = bench.own('daemon', await startDaemon(far));
  const env = await targetSocketEnv(bench, daemon, far);
  const alone = await ownClient(bench, far);
  const peer = 'real CLI alone';
  await bench.compare(
    'list-sessions, the whole command, TLS plain, 50 ms',
    'ms',
    bench.count(20, 3),
    [
      { name: 'bmux, target socket', once: () => runToEnd(program, LIST, env) },
      { name: peer, once: () => runToEnd(program, LIST, alone) },
    ],
    { goals: { [peer]: FAST } },
  );
}

/** Each turn uses a new address, so that the protocol cache has no entry for it; all turns use one daemon, as in normal use. */
async function unknownTls(bench: Bench, way: 'TLS plain' | 'TLS zstd', epoch: 3 | 4): Promise<void> {
  const options = { way, roundTripMs: ROUND_TRIP_MS, ...(epoch === 3 ? { epoch } : {}) } as const;
  const far = bench.own('far end', await startFar(options));
  const runs = bench.count(10, 3);
  const names = Array.from({ length: runs + 1 }, (_, at) => `t${String(at)}`);
  const config: string[] = [];
  for (const name of names) config.push(await far.unknown(name));
  const daemon = bench.own('daemon', await startDaemon({ config: config.join(''), env: far.env }));
  const peer = 'a client that knew';
  const left = [...names];
  const inRoundTrips = await tripsOf(bench, far, `first contact, ${way}, epoch ${String(epoch)}`);
  await bench.compare(
    `first contact, ${way}, epoch ${String(epoch)}, 50 ms`,
    'round trips',
    runs,
    [
      inRoundTrips({
        name: `broker [${far.server}]`,
        once: () => askThroughBroker(daemon, left.pop() ?? ''),
      }),
      inRoundTrips({ name: peer, once: () => askPlainly(far, epoch) }),
    ],
    { goals: { [peer]: WITHIN_ONE } },
  );
}

/**
 * The protocol cache is keyed by endpoint id, so each turn has its own daemon. It has answered a local request before, as the daemon of the
 * other ways has: the first request to a new process runs code for the first time, which takes longer than a round trip here.
 */
async function unknownIroh(bench: Bench): Promise<void> {
  const far = bench.own('far end', await farAt('iroh'));
  const env = { ...far.env, BMUX_RUNTIME_DIR: far.clientEnv['BMUX_RUNTIME_DIR'] ?? '' };
  const inRoundTrips = await tripsOf(bench, far, 'first contact, iroh');
  const peer = 'a client that knew';
  const ours: Subject = {
    name: `broker [${far.server}]`,
    once: async () => {
      const daemon = await startDaemon({ config: far.config, env });
      try {
        await askThroughBroker(daemon, 'local');
        return await askThroughBroker(daemon, far.target);
      } finally {
        await daemon.stop();
      }
    },
  };
  await bench.compare(
    'first contact, iroh, 50 ms',
    'round trips',
    bench.count(6, 2),
    [inRoundTrips(ours), inRoundTrips({ name: peer, once: () => askPlainly(far) })],
    { goals: { [peer]: WITHIN_ONE } },
  );
}

/** A Ping on a warm target through the streams socket, as `bmux-stream` and the library use it. */
async function warm(bench: Bench, way: FarWay, isPinned = false): Promise<void> {
  const far = bench.own('far end', await farAt(way));
  const daemon = bench.own('daemon', await startDaemon(isPinned ? { ...far, config: pinned(far) } : far));
  const what = isPinned ? `${way}, known by its pin` : way;
  const inRoundTrips = await tripsOf(bench, far, `control socket, ${what}`);
  const peer = 'without a broker';
  await bench.compare(
    `first answer by the control socket, ${what}, 50 ms`,
    'round trips',
    bench.count(20, 4),
    [
      inRoundTrips({ name: `broker [${far.server}]`, once: () => askThroughBroker(daemon, far.target) }),
      inRoundTrips({ name: peer, once: () => askPlainly(far) }),
    ],
  );
}

export const farAway: Measure = {
  name: 'far-away',
  about:
    '50 ms away: unmodified bmux through a target socket, the whole command, four in a row, first contact',
  run: async (bench) => {
    for (const way of FAR_WAYS) {
      await bench.part(`target socket, ${way}`, () => throughTargetSocket(bench, way));
      if (!bench.quick || way === 'iroh') await bench.part(`control socket, ${way}`, () => warm(bench, way));
    }
    await bench.part('target socket, TLS zstd, pinned', () => throughTargetSocket(bench, 'TLS zstd', true));
    await bench.part('control socket, TLS zstd, pinned', () => warm(bench, 'TLS zstd', true));
    await bench.part('whole command, TLS plain', () => wholeCommand(bench));
    for (const way of ['TLS plain', 'TLS zstd'] as const)
      for (const epoch of bench.quick ? ([4] as const) : ([4, 3] as const))
        await bench.part(`first contact, ${way}, epoch ${String(epoch)}`, () =>
          unknownTls(bench, way, epoch),
        );
    await bench.part('first contact, iroh', () => unknownIroh(bench));
  },
};
