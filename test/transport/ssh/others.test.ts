// Masters that the engine has not started, and an ssh_config that would make of a master or a session something else.
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loginArgs } from '../../../daemon/transport/ssh/arguments.ts';
import { pathForLogin } from '../../../daemon/transport/ssh/folder.ts';
import { run, sshdMissing, startChild, waitFor } from '../../real/index.ts';
import { answers, sshRig } from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'processes are found in /proc');

t.test('masters of others', { skip }, async (t) => {
  await t.test('ssh_config cannot take the streams away, or the master from the engine', async (t) => {
    const rig = await sshRig(t);
    const { path, sshConfig } = rig.sshd;
    await writeFile(sshConfig, 'StdinNull yes\nForkAfterAuthentication yes\nSessionType none\n');
    const known = (await run('ssh', ['-G', 'box'], { PATH: path })).status === 0;
    if (!known) await writeFile(sshConfig, '');
    await answers((await rig.open()).stream);
    await rig.pool.close();
    t.strictSame(await rig.processes(), []);
  });

  await t.test("a master of the user's own is used, and never ended", async (t) => {
    const rig = await sshRig(t);
    const { sshd } = rig;
    const control = join(sshd.folder, 'own');
    await writeFile(sshd.sshConfig, `ControlPath ${control}\n`);
    const known = `-oUserKnownHostsFile=${sshd.knownHosts}`;
    const own = await startChild({
      command: join(sshd.folder, 'bin', 'ssh'),
      args: ['-M', '-N', '-i', sshd.identity, known, '-p', String(sshd.port), '127.0.0.1'],
      env: { PATH: sshd.path },
      ready: () => existsSync(control),
    });
    t.teardown(() => own.stop());
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 1);
    await rig.pool.close();
    t.equal(own.exited(), false);
  });

  await t.test('a master of `bmuxd login` is used, and ended when its target is dropped', async (t) => {
    const rig = await sshRig(t);
    const control = await pathForLogin(rig.folder, rig.route());
    const made = await startChild({
      command: 'ssh',
      args: loginArgs(rig.route(), control).filter((argument) => argument !== '-f'),
      env: { PATH: rig.sshd.path },
      ready: () => existsSync(control),
    });
    t.teardown(() => made.stop());
    const { stream } = await rig.open();
    await answers(stream);
    t.equal(rig.logins(), 1);
    stream.end();
    rig.pool.drop(rig.route());
    await waitFor('its end', () => made.exited());
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 2);
  });
});
