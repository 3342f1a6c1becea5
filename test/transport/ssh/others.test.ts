// Masters that the engine has not started, and an ssh_config that would make of a master or a session something else.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loginArgs } from '../../../daemon/transport/ssh/arguments.ts';
import { pathsForLogin } from '../../../daemon/transport/ssh/folder.ts';
import { halt, run, sshdMissing, startChild, waitFor, type Child } from '../../real/index.ts';
import { answers, FRAME, sshRig, waitOf, writeProgram, type SshRig } from './rig.ts';

const skip = sshdMissing() || (process.platform !== 'linux' && 'processes are found in /proc');

t.test('masters of others', { skip }, async (t) => {
  await t.test('ssh_config cannot take the streams away, or the master from the engine', async (t) => {
    const rig = await sshRig(t);
    const { path, sshConfig } = rig.sshd;
    for (const type of ['none', 'subsystem']) {
      await writeFile(sshConfig, `StdinNull yes\nForkAfterAuthentication yes\nSessionType ${type}\n`);
      const known = (await run('ssh', ['-G', 'box', 'true'], { PATH: path })).status === 0;
      if (!known) await writeFile(sshConfig, '');
      const pool = rig.poolOf(type);
      t.teardown(() => pool.close());
      await answers((await pool.stream(rig.route(), waitOf())).stream);
      await pool.close();
      t.strictSame(await rig.processes(), [], type);
    }
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

  await t.test('one of them that hangs loses its streams, and is left alone', async (t) => {
    const rig = await sshRig(t);
    const { sshd } = rig;
    const control = join(sshd.folder, 'own');
    await sshd.alias('own', [`ControlPath ${control}`]);
    const own = await startChild({
      command: join(sshd.folder, 'bin', 'ssh'),
      args: ['-M', '-N', 'own'],
      env: { PATH: sshd.path },
      ready: () => existsSync(control),
    });
    t.teardown(() => own.stop());
    // A forced command: nobody asks there whether the server runs.
    const remoteBmuxPath = await writeProgram(sshd, 'forced', 'case "$*" in *--stdio) exec cat;; esac');
    const {
      identityFile: _,
      knownHostsFile: __,
      port: ___,
      ...route
    } = rig.route({ host: 'own', remoteBmuxPath });
    const { stream } = await rig.pool.stream(route, waitOf());
    await answers(stream);
    stream.resume();
    t.equal(rig.logins(), 1);
    const lost = once(stream, 'error');
    await halt(own.pid);
    t.teardown(() => process.kill(own.pid, 'SIGCONT'));
    stream.write(FRAME);
    t.match(await lost, [{ code: 'ssh_lost', cause: /its ssh does not answer/ }]);
    const loss = 'connection lost: timeout: its ssh does not answer';
    await waitFor('the event', () => rig.events.includes(loss));
    await answers((await rig.pool.stream(route, waitOf())).stream);
    t.equal(rig.logins(), 2);
    t.equal(own.exited(), false);
  });

  /** A master as `bmuxd login` leaves it. */
  const loggedIn = async (t: Test, rig: SshRig): Promise<Child> => {
    const { path: control } = await pathsForLogin(rig.folder, rig.route());
    const made = await startChild({
      command: 'ssh',
      args: loginArgs(rig.route(), control).filter((argument) => argument !== '-f'),
      env: { PATH: rig.sshd.path },
      ready: () => existsSync(control),
    });
    t.teardown(() => made.stop());
    return made;
  };

  await t.test('a master of `bmuxd login` is used, and ended when its target is dropped', async (t) => {
    const rig = await sshRig(t);
    const made = await loggedIn(t, rig);
    const { stream } = await rig.open();
    await answers(stream);
    t.equal(rig.logins(), 1);
    stream.end();
    rig.pool.drop(rig.route());
    await waitFor('its end', () => made.exited());
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 2);
  });

  await t.test('the same while a stream uses it: it ends with the stream', async (t) => {
    const rig = await sshRig(t);
    const made = await loggedIn(t, rig);
    const { stream } = await rig.open();
    await answers(stream);
    rig.pool.drop(rig.route());
    const folder = join(rig.folder, 'ssh', 'login');
    await waitFor('nobody to find it', async () => (await readdir(folder))[0]?.startsWith('-') === true);
    await answers((await rig.open()).stream);
    t.equal(rig.logins(), 2, 'the next stream has a connection of its own');
    await answers(stream);
    t.equal(made.exited(), false);
    stream.end();
    await waitFor('its end', () => made.exited());
    await waitFor('its socket to be gone', async () => (await readdir(folder)).length === 0);
  });
});
