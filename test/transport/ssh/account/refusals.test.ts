// What the keys, the certificates and the shell of an account refuse before a real sshd: the remedy fits what ssh says.
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { hasSshAgent, run, sshdMissing, startAgent, waitFor } from '../../../real/index.ts';
import { sshRig, writeProgram } from '../rig.ts';

const noAgent = !hasSshAgent() && 'ssh-agent not found';
const env = { PATH: process.env['PATH'] ?? '' };

t.test('keys and certificates', { skip: sshdMissing() }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ca-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const ca = join(folder, 'ca');
  /** Signs `key` with the authority. */
  const sign = async (key: string, ...how: readonly string[]): Promise<void> => {
    const signed = await run('ssh-keygen', ['-q', '-s', ca, '-I', 'test', ...how, `${key}.pub`], env);
    if (signed.status !== 0) throw new Error(signed.stderr);
  };
  const made = await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', ca], env);
  t.equal(made.status, 0, made.stderr);
  const past = ['-V', '20200101:20200102'];

  await t.test('a certificate that has expired', async (t) => {
    const rig = await sshRig(t, { config: `TrustedUserCAKeys ${ca}.pub` });
    const identityFile = await rig.sshd.addKey('certified', { accepted: false });
    await sign(identityFile, '-n', 'root', ...past);
    t.match(
      await rig.refusal({ identityFile }),
      /^ssh_denied\n[^]*Permission denied[^]*does not take the certificate for \S+certified: `ssh-keygen -L -f`/,
    );
  });
  await t.test('the certificate of a host, for another name', async (t) => {
    const host = join(folder, 'host');
    const rig = await sshRig(t, { config: `HostCertificate ${host}-cert.pub` });
    await copyFile(join(rig.sshd.folder, 'host.pub'), `${host}.pub`);
    await sign(host, '-h', '-n', 'elsewhere');
    const knownHostsFile = join(folder, 'known');
    await writeFile(knownHostsFile, `@cert-authority * ${await readFile(`${ca}.pub`, 'utf8')}`);
    t.match(
      await rig.refusal({ knownHostsFile }),
      /^ssh_host_key_unknown\n[^]*Certificate invalid: name is not [^]*whoever runs the host has to renew it/,
    );
  });
  await t.test('an agent with more keys than the host tries', { skip: noAgent }, async (t) => {
    const rig = await sshRig(t, { config: 'MaxAuthTries 2' });
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    for (const name of ['one', 'two', 'three']) await agent.addKey('ed25519', name);
    t.match(
      await rig.refusal({ agentSocket: agent.socket }),
      /^ssh_denied\n[^]*Too many authentication failures[^]*set `IdentitiesOnly yes` and IdentityFile/,
    );
  });
});

t.test('the shell of an account', { skip: sshdMissing() }, async (t) => {
  const rig = await sshRig(t);
  await t.test('the csh finds no bmux', async (t) => {
    const identityFile = await rig.sshd.addKey('csh', {
      options: 'command="echo \'/none/bmux: Command not found.\' >&2; exit 1"',
    });
    t.match(await rig.refusal({ identityFile }), /^ssh_bmux_missing\n[^]*Command not found/);
  });
  await t.test('it fails before bmux, and says nothing', async (t) => {
    const identityFile = await rig.sshd.addKey('failing', { options: 'command="exit 1"' });
    t.match(
      await rig.refusal({ identityFile }),
      /^ssh_bridge_failed\n.*status 1\nNo bmux has answered there: `ssh HOST true` must/,
    );
  });
  await t.test('it waits for something, is mended, and the target dropped', async (t) => {
    await mkdir(join(rig.sshd.folder, 'asked'));
    const waits = `[ -e '${join(rig.sshd.folder, 'mended')}' ] && exec '${rig.route().remoteBmuxPath}' "$@"`;
    const program = `touch "${join(rig.sshd.folder, 'asked')}/$$"\n${waits}\nexec sleep 60`;
    const route = { remoteBmuxPath: await writeProgram(rig.sshd, 'waiting', program) };
    t.match(
      await rig.refusal(route, 2000),
      /^ssh_connect_timeout\n[^]*waited for bmux there to answer\n[^]*rc file[^]*run `bmuxd drop box`/,
    );
    await writeFile(join(rig.sshd.folder, 'mended'), '');
    rig.pool.drop(rig.route(route));
    await waitFor('a new question', async () => (await rig.refusal(route, 5000)) === 'opened');
  });
});
