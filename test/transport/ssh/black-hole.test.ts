// The way to a host becomes a black hole under live streams.
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { far, run, sshdMissing } from '../../real/index.ts';
import { sshRig, waitOf } from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'Linux only');

/** Bytes that look like the begin of a frame, as the stream expects them. */
const FRAME = Buffer.from([4, 0, 0, 0, 1, 2, 3, 4]);

t.test('a host that acknowledges nothing', { skip }, async (t) => {
  const there = await far(t);
  if (there === undefined) {
    t.pass('# SKIP: a network namespace cannot be made here');
    return;
  }
  // The real limit is held in test/transport/tcp/watch.test.ts.
  const rig = await sshRig(t, { at: there, watch: new TcpWatch({ limitMs: 1000 }) });
  // The connections of sshd are not told that ours have ended.
  t.teardown(() => there.end());
  const { sshd } = rig;
  // A second login, to which the user's own ssh_config has a master.
  const env = { PATH: sshd.path };
  await sshd.alias('own', [`ControlPath ${join(rig.folder, 'own')}`]);
  t.match(await run('ssh', ['-fNM', 'own'], env), { status: 0 });
  t.teardown(() => run('ssh', ['-O', 'exit', 'own'], env));
  const { identityFile: _, knownHostsFile: __, port: ___, ...own } = rig.route({ host: 'own' });
  const streams = [(await rig.open()).stream, (await rig.pool.stream(own, waitOf())).stream];
  t.equal(rig.logins(), 2, 'the master of the user and one of the engine');
  for (const stream of streams) {
    const first = once(stream, 'data');
    stream.write(FRAME);
    await first;
    stream.resume();
  }
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
  for (const stream of streams) stream.write(FRAME);
  for (const why of await Promise.all(lost)) t.match(why, /has acknowledged nothing for \d+ s/);
  t.match(await run('ssh', ['-O', 'check', 'own'], env), { status: 0 }, 'the master of the user goes on');
});
