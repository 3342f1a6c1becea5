// A server 50 ms away by SSH: a command through the broker, the real CLI alone, and a bridge over a warm master of the user's own.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestClient } from '../../test/embedded/client.ts';
import { startDelayProxy } from '../../test/embedded/delay-proxy.ts';
import { learn, sshdMissing, startChild, startServer, startSshd } from '../../test/real/index.ts';
import { realEnv } from '../../test/real/server.ts';
import { targetSocketEnv } from '../../test/target-sockets/target-socket.ts';
import { targetToml } from '../../test/target-sockets/ways.ts';
import { Skip, timed, type Bench, type Goal, type Measure, type Subject } from '../measure.ts';
import { startTcpPath } from '../rig/path.ts';
import { runToEnd } from '../rig/programs.ts';
import { askByProcess, bridgeOf } from '../rig/question.ts';
import { bmuxOrSkip, LIST } from './command.ts';
import { askThroughBroker, startDaemon } from './first-answer.ts';
import { streams } from './ssh-streams.ts';

const ROUND_TRIP_MS = 50;

const ONE_TRIP: Goal = { text: '<= 1.10 round trips added', met: ({ added }) => added.median <= 1.1 };
const FIRST: Goal = { text: '<= 1.10 round trips', met: ({ ours }) => ours.median <= 1.1 };
const FASTER: Goal = { text: '>= 3 times faster', met: ({ ratio }) => ratio.median <= 1 / 3 };

async function commands(bench: Bench): Promise<void> {
  const program = bmuxOrSkip();
  const missing = sshdMissing();
  if (missing !== false) throw new Skip(missing);
  const server = bench.own('server', await startServer());
  const sshd = bench.own('sshd', await startSshd({ env: server.env }));
  const to = { host: '127.0.0.1', port: sshd.port };
  const proxy = bench.own('path', await startDelayProxy({ to, roundTripMs: ROUND_TRIP_MS, handshake: true }));
  const knownHosts = join(sshd.folder, 'known_far');
  const known = await readFile(sshd.knownHosts, 'utf8');
  await writeFile(knownHosts, known.replace(`:${String(sshd.port)} `, `:${String(proxy.port)} `));
  const config = targetToml('far', {
    transport: 'ssh',
    host: '127.0.0.1',
    port: proxy.port,
    identity_file: sshd.identity,
    known_hosts_file: knownHosts,
    remote_bmux_path: program,
  });
  const daemon = bench.own('daemon', await startDaemon({ config, env: { PATH: sshd.path } }));
  const env = await targetSocketEnv(daemon, 'far');
  const ours: Subject = { name: 'bmux, target socket', once: () => runToEnd(program, LIST, env) };
  const runs = bench.count(20, 4);

  const path = bench.own('empty path', await startTcpPath(ROUND_TRIP_MS));
  const trips: number[] = [];
  while (trips.length < 10) trips.push(await path.echo());
  const tripMs = trips.sort((a, b) => a - b)[5] ?? ROUND_TRIP_MS;
  const inTrips = ({ name, once }: Subject): Subject => ({
    name,
    once: async () => (await once()) / tripMs,
  });
  const near: Subject = { name: 'at the server itself', once: () => runToEnd(program, LIST, server.env) };
  await bench.compare('list-sessions, SSH, 50 ms', 'round trips', runs, [inTrips(ours), inTrips(near)], {
    goals: { [near.name]: ONE_TRIP },
  });

  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-client-'));
  bench.own('client', { stop: () => rm(folder, { recursive: true, force: true }) });
  const own: Readonly<Record<string, string>> = { ...(await realEnv(folder)), PATH: sshd.path };
  await writeFile(join(own['BMUX_CONFIG_DIR'] ?? folder, 'bmux.toml'), config);
  const alone: Subject = {
    name: 'bmux --target far alone',
    once: () => runToEnd(program, ['--target', 'far', ...LIST], own),
  };
  await bench.compare('list-sessions, the whole command, SSH, 50 ms', 'ms', runs, [ours, alone], {
    goals: { [alone.name]: FASTER },
  });

  const control = join(sshd.folder, 'own');
  const options = ['-S', control, '-p', String(proxy.port), '-i', sshd.identity];
  const master = await startChild({
    command: join(sshd.folder, 'bin', 'ssh'),
    args: ['-M', '-N', ...options, `-oUserKnownHostsFile=${knownHosts}`, '127.0.0.1'],
    env: { PATH: sshd.path },
    ready: () => existsSync(control),
  });
  bench.own('master', master);
  const question = await learn({ env: server.env, socketPath: server.socketPath }, LIST);
  const bridge = ['-T', ...options, '127.0.0.1', `${program} server bridge --stdio`];
  const beside: Subject = {
    name: 'ssh -S own far bmux server bridge, the same question',
    once: () => askByProcess(join(sshd.folder, 'bin', 'ssh'), bridge, { PATH: sshd.path }, question),
  };
  await bench.compare('list-sessions beside a bridge over an own master, SSH, 50 ms', 'ms', runs, [
    ours,
    beside,
  ]);
  const open = new TestClient(bridgeOf(join(sshd.folder, 'bin', 'ssh'), bridge, { PATH: sshd.path }), {
    epoch: 4,
    limitMs: 20_000,
  });
  bench.own('open bridge', { stop: () => open.close() });
  await open.hello();
  const ping: Subject = {
    name: 'a Ping on such a bridge that is open',
    once: () => timed(() => open.ping()),
  };
  const first: Subject = { name: 'broker, a spare', once: () => askThroughBroker(daemon, 'far') };
  await bench.compare(
    'first answer, SSH, 50 ms',
    'round trips',
    runs,
    [inTrips(first), inTrips(beside), inTrips(ping)],
    {
      goals: { [beside.name]: FIRST },
    },
  );
}

export const ssh: Measure = {
  name: 'ssh',
  about:
    'a command 50 ms away by SSH, keystrokes and bulk, beside the real CLI alone and a bridge over a warm master',
  run: async (bench) => {
    await bench.part('list-sessions', () => commands(bench));
    await streams(bench);
  },
};
