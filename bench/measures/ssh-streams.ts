// A live stream over SSH on this machine: keystrokes and bytes per second, beside a bridge over a master of the user's own.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { startBmuxd, type Bmuxd } from '../../test/daemon/bmuxd.ts';
import { sshdMissing, startChild, startSshd } from '../../test/real/index.ts';
import { targetToml } from '../../test/target-sockets/ways.ts';
import { writeProgram } from '../../test/transport/ssh/rig.ts';
import { Skip, type Bench } from '../measure.ts';
import { ECHO, greet, order, type Order } from '../rig/bulk-order.ts';
import { SETTINGS } from '../rig/far.ts';
import { bridgeOf } from '../rig/question.ts';
import { move, moveThroughBroker, startBulkFar } from './bulk.ts';
import { bmuxOrSkip } from './command.ts';
import { felt, press, report } from './keystroke.ts';

interface Scene {
  readonly daemon: Bmuxd;
  /** A bridge over the user's own master, after the Hello. */
  readonly plain: () => Promise<Duplex>;
}

const PEER = 'ssh -S own far bmux server bridge';

/** The bridge is that of the real bmux, and leads to the bulk server. */
async function scene(bench: Bench): Promise<Scene> {
  const program = bmuxOrSkip();
  const missing = sshdMissing();
  if (missing !== false) throw new Skip(missing);
  const far = bench.own('bulk server', await startBulkFar());
  const sshd = bench.own('sshd', await startSshd({ env: { BMUX_RUNTIME_DIR: far.folder } }));
  const bmux = await writeProgram(
    sshd,
    'bmux',
    `case "$*" in "server status") echo server version: 0.0.1-alpha.4;; *) exec '${program}' "$@";; esac`,
  );
  const config = targetToml('far', {
    transport: 'ssh',
    host: '127.0.0.1',
    port: sshd.port,
    identity_file: sshd.identity,
    known_hosts_file: sshd.knownHosts,
    remote_bmux_path: bmux,
  });
  const env = { PATH: sshd.path };
  const daemon = bench.own('daemon', await startBmuxd({ usualLog: true, config, settings: SETTINGS, env }));
  const control = join(sshd.folder, 'own');
  const ssh = join(sshd.folder, 'bin', 'ssh');
  const options = ['-S', control, '-p', String(sshd.port), '-i', sshd.identity];
  const master = await startChild({
    command: ssh,
    args: ['-M', '-N', ...options, `-oUserKnownHostsFile=${sshd.knownHosts}`, '127.0.0.1'],
    env,
    ready: () => existsSync(control),
  });
  bench.own('master', master);
  return {
    daemon,
    plain: async () => {
      const args = ['-T', ...options, '127.0.0.1', `${bmux} server bridge --stdio`];
      const stream = bridgeOf(ssh, args, env);
      await greet(stream);
      return stream;
    },
  };
}

async function keystrokes(bench: Bench): Promise<void> {
  const { daemon, plain } = await scene(bench);
  const { stream: ours } = await daemon.open({ target: 'far' });
  const bare = await plain();
  for (const stream of [ours, bare]) await order(stream, ECHO);
  const [broker, without] = [felt(), felt()];
  const keys = bench.amount(300, 100);
  for (let turn = 0; turn <= bench.count(20, 5); turn += 1) {
    await press(ours, keys, broker);
    await press(bare, keys, without);
  }
  for (const stream of [ours, bare]) stream.on('error', () => undefined).destroy();
  report(bench, 'keystroke, SSH', broker, without, {}, { name: PEER });
}

async function bytes(bench: Bench, way: 'up' | 'down'): Promise<void> {
  const { daemon, plain } = await scene(bench);
  const what: Order = { way, bytes: bench.amount(256, 16) * 1024 * 1024, kind: 'noise' };
  await bench.compare(`SSH bulk ${way}`, 'MB/s', bench.count(7, 2), [
    { name: 'broker', once: () => moveThroughBroker(daemon, 'far', what) },
    { name: PEER, once: async () => move(await plain(), what) },
  ]);
}

export async function streams(bench: Bench): Promise<void> {
  await bench.part('keystroke', () => keystrokes(bench));
  for (const way of ['up', 'down'] as const) await bench.part(`bulk ${way}`, () => bytes(bench, way));
}
