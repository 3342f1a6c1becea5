// Masters before a real sshd: how many logins are made, what ends them, and what becomes of their streams.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import t from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { NetworkWatch } from '../../../daemon/engine/network-watch.ts';
import { hasSshAgent, ordinaryAccount, run, sshdMissing, startAgent, waitFor } from '../../real/index.ts';
import { withRoom } from '../../../daemon/transport/ssh/master.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import {
  answers,
  errorOf,
  FRAME,
  keepTalking,
  mastersOf,
  sshRig,
  stop,
  waitOf,
  writeProgram,
} from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'processes are found in /proc');

t.test('which connection is asked for a session', (t) => {
  type Room = NonNullable<Parameters<typeof withRoom>[0][number]>;
  const process = {} as NonNullable<Room['process']>;
  const room = (sessions: number, maxSessions = Infinity): Room => {
    return { process, sessions, maxSessions, hasRoom: sessions < maxSessions };
  };
  const [full, other] = [room(2, 2), room(2)];
  t.equal(withRoom([other], true), other, 'one where the host has refused nothing');
  t.equal(withRoom([full, other], true), undefined, 'the host will refuse here what it has refused there');
  t.equal(withRoom([full, other], false), other, 'it is asked all the same where no login is possible');
  const empty = room(1);
  t.equal(withRoom([full, other, empty], true), empty);
  const users = { ...room(2), process: undefined };
  t.equal(withRoom([full, users], true), users, 'sessions of the user are not known');
  const crowded = { ...room(0, 0), process: undefined };
  t.equal(withRoom([crowded, other], true), other, 'and say nothing of the others');
  t.end();
});

t.test('masters', { skip }, async (t) => {
  await t.test('callers share one login, and a stream ends properly', async (t) => {
    const rig = await sshRig(t);
    const opened = await Promise.all([1, 2, 3].map(() => rig.open()));
    for (const { stream } of opened) await answers(stream);
    t.equal(rig.logins(), 1);
    t.strictSame(rig.events, ['connection made']);
    t.equal((await stat(join(rig.folder, 'ssh', 'one'))).mode & 0o777, 0o700, 'nobody else can use them');
    t.equal((await rig.open()).warm, true);
    const [first, second] = opened;
    const ended = once(first?.stream ?? t, 'end');
    first?.stream.end();
    await ended;
    second?.stream.destroy();
    await waitFor('two sessions and the master', async () => (await rig.processes()).length === 3);
    await rig.pool.close();
    t.strictSame(await rig.processes(), []);
  });

  await t.test('a session more than MaxSessions gets a second master', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 2' });
    for (const at of [1, 2, 3, 4, 5]) {
      await answers((await rig.open()).stream);
      t.equal(rig.logins(), Math.ceil(at / 2), `stream ${String(at)}`);
    }
  });

  await t.test('a master without sessions is ended at its limit', async (t) => {
    const rig = await sshRig(t);
    const { stream } = await rig.open();
    await answers(stream);
    const ended = once(stream, 'end');
    stream.end();
    await ended;
    await waitFor('the end of the session', async () => (await rig.processes()).length === 1);
    const look = async (idleMs: number): Promise<void> => {
      const now = performance.now() + idleMs;
      const clock = mock.method(performance, 'now', () => now);
      await rig.clock.advance(60_000);
      clock.mock.restore();
    };
    await look(LIMITS.sshIdleMs - 60_000);
    t.equal(rig.pool.isWarm(rig.route()), true);
    await look(LIMITS.sshIdleMs + 1000);
    t.equal(rig.pool.isWarm(rig.route()), false);
    await waitFor('the end of the master', async () => (await rig.processes()).length === 0);
  });

  await t.test('a question takes no session from a stream', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 2' });
    await answers((await rig.open()).stream);
    const gate = join(rig.sshd.folder, 'gate');
    t.match(await run('mkfifo', [gate], { PATH: process.env['PATH'] ?? '' }), { status: 0 });
    const slow = await writeProgram(
      rig.sshd,
      'slow',
      [
        'case "$*" in',
        `"server status") touch ${gate}.asked; read -r _ < ${gate}; echo server version: 0.0.1-alpha.4;;`,
        '--version) echo bmux 0.0.1-alpha.4;;',
        'esac',
      ].join('\n'),
    );
    // However long the programs take, no limit is reached.
    const timers = holdTimers(t);
    const other = rig.pool.epochOf(rig.route({ remoteBmuxPath: slow }), waitOf());
    await timers.until('the question to have its session', () => existsSync(`${gate}.asked`));
    const opening = rig.open();
    await timers.until('the stream to be refused', () => rig.sshd.log().includes('no more sessions'));
    await writeFile(gate, 'go\n');
    await other;
    await answers((await opening).stream);
    timers.release();
    t.equal(rig.logins(), 1);
  });

  await t.test('a master that dies takes its streams, which say so, and is replaced', async (t) => {
    const rig = await sshRig(t);
    const { stream } = await rig.open();
    await answers(stream);
    const lost = errorOf(stream);
    for (const pid of await mastersOf(rig)) process.kill(pid, 'SIGKILL');
    t.match(await lost, { message: "the SSH connection to 'box' was lost" });
    const again = await rig.open();
    await answers(again.stream);
    t.equal(again.warm, false);
    await waitFor('the event', () =>
      rig.events.some((event) => event.startsWith('connection lost: server_gone: ')),
    );
  });

  await t.test('a master that stands still is replaced', async (t) => {
    const rig = await sshRig(t);
    const { stream } = await rig.open();
    await answers(stream);
    const lost = errorOf(stream);
    const stopped = await mastersOf(rig);
    stop(t, stopped);
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 2);
    const loss = 'connection lost: timeout: the host opened no session in time';
    t.strictSame(rig.events, ['connection made', loss, 'connection made']);
    t.match(await lost, { code: 'ssh_lost' }, 'its live stream does not stay open');
    await waitFor('its end', async () => !(await mastersOf(rig)).some((pid) => stopped.includes(pid)));
    t.equal(rig.events.length, 3, 'its loss is told once');
  });

  await t.test('of several that stand still none keeps its streams', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 2' });
    const lost: Promise<unknown>[] = [];
    for (let at = 1; at <= 3; at += 1) {
      const { stream } = await rig.open();
      await answers(stream);
      lost.push(errorOf(stream));
    }
    const stopped = await mastersOf(rig);
    t.equal(stopped.length, 2);
    stop(t, stopped);
    await answers((await rig.open()).stream);
    for (const one of lost) t.match(await one, { code: 'ssh_lost' });
  });

  await t.test('one that hangs is asked when a stream over it has no answer', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 2' });
    const [{ stream }, beside] = [await rig.open(), await rig.open()];
    const hung = await mastersOf(rig);
    // It speaks for the server, and has room for questions to it.
    const other = await rig.open();
    for (const one of [stream, beside.stream, other.stream]) await answers(one);
    keepTalking(t, other.stream);
    const lost = [stream, beside.stream].map(errorOf);
    stop(t, hung);
    stream.write(FRAME);
    for (const one of lost) t.match(await one, { code: 'ssh_lost', cause: /its ssh does not answer/ });
    const loss = 'connection lost: timeout: its ssh does not answer';
    await waitFor('the event', () => rig.events.includes(loss));
    await answers((await rig.open()).stream);
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 3, 'the next streams get a new one');
  });

  await t.test(
    'after a change of the network, or a sleep, a dead master is replaced before anybody waits for it',
    async (t) => {
      const rig = await sshRig(t);
      await answers((await rig.open()).stream);
      const stopped = await mastersOf(rig);
      rig.pool.markStale();
      await answers((await rig.open()).stream);
      t.equal(rig.logins(), 1, 'one that answers is kept');
      stop(t, stopped);
      let now = Date.now();
      const network = new NetworkWatch({
        now: () => now,
        onChange: () => {
          rig.pool.markStale();
        },
      });
      t.teardown(() => {
        network.close();
      });
      const timers = holdTimers(t);
      now += 60_000;
      network.look();
      await timers.pass(60_000);
      await timers.until('the master to be given up', () => !rig.pool.isWarm(rig.route()));
      timers.release();
      t.match(rig.events.at(-1), /^connection lost: timeout: /);
    },
  );

  await t.test('what a dead engine has left is ended by the next one', async (t) => {
    const rig = await sshRig(t);
    await answers((await rig.open()).stream);
    t.equal((await rig.processes()).length, 2);
    const next = rig.poolOf('two');
    t.teardown(() => next.close());
    await waitFor('nothing to be left', async () => (await rig.processes()).length === 0);
  });

  const noAgent = !hasSshAgent() && 'ssh-agent not found';
  await t.test(
    'an alias of ssh_config, through a jump host, with the key in an agent',
    { skip: noAgent },
    async (t) => {
      const rig = await sshRig(t);
      const { sshd } = rig;
      const agent = await startAgent();
      t.teardown(() => agent.stop());
      await writeFile(join(sshd.folder, 'accepted'), await agent.addKey('ed25519', 'agent'));
      const lines = [
        'HostName 127.0.0.1',
        `Port ${String(sshd.port)}`,
        `UserKnownHostsFile ${sshd.knownHosts}`,
      ];
      await writeFile(sshd.sshConfig, ['Host gate inside', ...lines, ''].join('\n'));
      const remoteBmuxPath = join(sshd.folder, 'bmux');
      const common = {
        transport: 'ssh',
        strictHostKeyChecking: true,
        remoteBmuxPath,
        startsServer: true,
      } as const;
      const route = { ...common, host: 'inside', jump: 'gate', agentSocket: agent.socket };
      await answers((await rig.pool.stream(route, waitOf())).stream);
      t.equal(rig.logins(), 2, 'one at the jump host, one at the host');
      await rig.pool.close();
      t.strictSame(await rig.processes(), []);
    },
  );

  await t.test('a key with a certificate', async (t) => {
    const rig = await sshRig(t);
    const { sshd } = rig;
    const authority = await sshd.addKey('authority', { accepted: false });
    const identityFile = await sshd.addKey('signed', { accepted: false });
    const signed = await run(
      'ssh-keygen',
      ['-q', '-s', authority, '-I', 'test', '-n', userInfo().username, `${identityFile}.pub`],
      { PATH: process.env['PATH'] ?? '' },
    );
    t.match(signed, { status: 0 }, signed.stderr);
    t.match(await rig.refusal({ identityFile }), /^ssh_denied/);
    const accepted = join(sshd.folder, 'accepted');
    await writeFile(accepted, `cert-authority ${await readFile(`${authority}.pub`, 'utf8')}`);
    await answers((await rig.open({ identityFile })).stream);
  });

  const account = ordinaryAccount();
  const none = account === undefined && 'no account beside root found';
  await t.test('an account that is not root', { skip: none }, async (t) => {
    if (account === undefined) return;
    const rig = await sshRig(t, { owner: account });
    await answers((await rig.open({ user: account.name })).stream);
    t.match(rig.sshd.log(), `Accepted publickey for ${account.name} `);
  });
});
