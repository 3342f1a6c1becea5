// Live streams over SSH, with numbered bytes: control is killed, the daemon is restarted, and the path to the host goes.
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { start } from '../../embedded/server/start-server.ts';
import { Talk } from '../../engine/world.ts';
import { sshdMissing, waitFor } from '../../real/index.ts';
import { sshToServer } from './far-server.ts';
import {
  answers,
  errorOf,
  FRAME,
  keepTalking,
  mastersOf,
  processesWith,
  sshRig,
  stop,
  writeProgram,
} from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'processes are found in /proc');

interface World {
  readonly bmuxd: Bmuxd;
  /** Processes of connections at the host. */
  readonly connections: () => Promise<number[]>;
  /** Processes of ssh. */
  readonly here: () => ReturnType<typeof processesWith>;
}

async function startWorld(t: Test, fields: Readonly<Record<string, number>> = {}): Promise<World> {
  const server = await start(t, { epoch: 4 });
  const { sshd, toml } = await sshToServer(t, server.socketPath);
  const bmuxd = await startBmuxd({
    config: toml('box', fields),
    settings: 'warmth.max_connections = 0\n',
    env: { PATH: sshd.path },
  });
  t.teardown(() => bmuxd.stop());
  return {
    bmuxd,
    connections: async () =>
      (await processesWith('sshd')).map(({ pid }) => pid).filter((pid) => parentOf(pid) === sshd.pid),
    here: () => processesWith(join(bmuxd.folder, 'd', 'ssh')),
  };
}

function parentOf(pid: number): number {
  try {
    return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'))?.[1]);
  } catch {
    return 0;
  }
}

async function tenTalks(bmuxd: Bmuxd): Promise<Talk[]> {
  const talks = await Promise.all(Array.from({ length: 10 }, () => Talk.open(bmuxd, 'box')));
  for (const talk of talks) talk.start();
  await moves('traffic on all streams', talks);
  return talks;
}

async function moves(what: string, talks: readonly Talk[]): Promise<void> {
  const before = talks.map(({ check }) => check.count);
  await waitFor(what, () => talks.every(({ check }, at) => check.count > (before[at] ?? 0) + 40_000));
}

t.test('ten live streams', { skip }, async (t) => {
  const { bmuxd, here } = await startWorld(t);
  const talks = await tenTalks(bmuxd);
  await bmuxd.killControl();
  await moves('traffic to go on without control', talks);
  const second = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => second.stop());
  await waitFor('both engines', async () => (await second.status()).engines.length === 2);
  t.match(await second.bmuxd(['restart']), { status: 0 });
  await moves('traffic to go on after a restart', talks);
  for (const talk of talks) await talk.quiet();
  t.pass('every byte came back once, in order');
  for (const talk of talks) await talk.end();
  const fresh = await Talk.open(bmuxd, 'box');
  fresh.start();
  await fresh.quiet();
  t.match(await second.bmuxd(['stop']), { status: 0 });
  t.strictSame(await here(), [], 'no process is left');
});

t.test('the connection falls silent', { skip }, async (t) => {
  const { bmuxd, connections } = await startWorld(t, { connect_timeout_ms: 4000 });
  const talk = await Talk.open(bmuxd, 'box');
  talk.start();
  await moves('traffic', [talk]);
  const stopped = await connections();
  t.ok(stopped.length > 0);
  for (const pid of stopped) process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    for (const pid of stopped) process.kill(pid, 'SIGKILL');
  });
  const fresh = await Talk.open(bmuxd, 'box');
  fresh.start();
  await fresh.quiet();
  t.pass('a request is answered over another one');
  await waitFor('the live stream to be given up', () => talk.incoming.ended, 60_000);
});

t.test(
  'the loss of a master that hangs, and whose exit is seen after that of its sessions',
  { skip },
  async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 1' });
    const { host, port, sshConfig } = rig.sshd;
    const pipe = `process.stdin.pipe(require('net').connect(${port}, '${host}')).pipe(process.stdout)`;
    // The sleep keeps the stderr of the master open.
    const proxy = `sleep 600 &\nexec '${process.execPath}' -e "${pipe}"`;
    await writeFile(sshConfig, `ProxyCommand ${await writeProgram(rig.sshd, 'proxy', proxy)}\n`);
    const { stream } = await rig.open();
    const hung = await mastersOf(rig);
    // It speaks for the server, which is not asked then.
    const other = await rig.open();
    for (const one of [stream, other.stream]) await answers(one);
    keepTalking(t, other.stream);
    const lost = errorOf(stream);
    stop(t, hung);
    stream.write(FRAME);
    t.match(await lost, { code: 'ssh_lost', cause: /its ssh does not answer/ });
    const loss = 'connection lost: timeout: its ssh does not answer';
    await waitFor('the event', () => rig.events.includes(loss), 20_000);
  },
);
