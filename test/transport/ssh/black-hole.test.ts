// The way to a host becomes a black hole under live streams.
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { SYSTEM_CLOCK, type Clock } from '../../../daemon/base/async/clock.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { far, halt, run, sshdMissing } from '../../real/index.ts';
import { FRAME, processesWith, sshRig, waitOf } from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'Linux only');

/** ms between two looks at the connections. */
const OFTEN_MS = 100;

t.test('a host that acknowledges nothing', { skip }, async (t) => {
  const there = await far(t);
  if (there === undefined) {
    t.pass('# SKIP: a network namespace cannot be made here');
    return;
  }
  // The real limit is held in test/transport/tcp/broken-way.test.ts.
  const clock: Pick<Clock, 'after' | 'every'> = {
    after: (ms, run) => SYSTEM_CLOCK.after(ms, run),
    every: (_ms, run) => {
      const timer = setInterval(run, OFTEN_MS);
      return () => {
        clearInterval(timer);
      };
    },
  };
  const rig = await sshRig(t, { at: there, watch: new TcpWatch({ limitMs: 1000, clock }) });
  // The connections of sshd are not told that ours have ended.
  t.teardown(() => there.end());
  const { sshd } = rig;
  // Further logins, to which the user's own ssh_config has masters.
  const env = { PATH: sshd.path };
  await sshd.alias('own*', [`ControlPath ${join(rig.folder, '%n')}`]);
  const streams = [(await rig.open()).stream];
  for (const host of ['own', 'own-idle']) {
    t.match(await run('ssh', ['-fNM', host], env), { status: 0 });
    t.teardown(() => run('ssh', ['-O', 'exit', host], env));
    const { identityFile: _, knownHostsFile: __, port: ___, ...own } = rig.route({ host });
    streams.push((await rig.pool.stream(own, waitOf())).stream);
  }
  t.equal(rig.logins(), 3, 'two masters of the user and one of the engine');
  for (const stream of streams) {
    const first = once(stream, 'data');
    stream.write(FRAME);
    await first;
    stream.resume();
  }
  // All that was written counts as acknowledged by now.
  await sleep(10 * OFTEN_MS);
  await there.cut();
  const since = performance.now();
  const lost = streams.map(
    (stream) =>
      new Promise<string>((resolve) =>
        stream.once('error', (error) => {
          t.comment(`told after ${String(Math.round(performance.now() - since))} ms`);
          resolve(`${error.message}: ${String(error.cause)}`);
        }),
      ),
  );
  for (const stream of streams.slice(0, 2)) stream.write(FRAME);
  // Nothing is written on the last one, but its host is asked.
  rig.pool.markStale();
  const [ours, ...others] = await Promise.all(lost);
  // On a busy machine ssh itself may notice it first. A master of the user asks nothing.
  t.match(ours, /has acknowledged nothing for \d+ s|the host opened no session in time|Timeout, server /);
  for (const why of others) t.match(why, /has acknowledged nothing for \d+ s/);
  t.match(await run('ssh', ['-O', 'check', 'own'], env), { status: 0 }, 'the master of the user goes on');
});

t.test('a master of the user that is stopped when a session of it has ended', { skip }, async (t) => {
  const rig = await sshRig(t);
  const env = { PATH: rig.sshd.path };
  const path = join(rig.folder, 'own');
  await rig.sshd.alias('own', [`ControlPath ${path}`]);
  t.match(await run('ssh', ['-fNM', 'own'], env), { status: 0 });
  t.teardown(() => run('ssh', ['-O', 'exit', 'own'], env));
  const { identityFile: _, knownHostsFile: __, port: ___, ...own } = rig.route({ host: 'own' });
  const { stream } = await rig.pool.stream(own, waitOf());
  const first = once(stream, 'data');
  stream.write(FRAME);
  await first;
  stream.resume();
  const { stderr } = await run('ssh', ['-O', 'check', 'own'], env);
  const master = Number(/pid=(\d+)/.exec(stderr)?.[1]);
  await halt(master);
  t.teardown(() => process.kill(master, 'SIGCONT'));
  const lost = once(stream, 'error');
  for (const { pid, line } of await processesWith(rig.sshd.sshConfig))
    if (line.includes('server bridge')) process.kill(pid, 'SIGTERM');
  t.match(await lost, [{ code: 'ssh_lost' }]);
});
