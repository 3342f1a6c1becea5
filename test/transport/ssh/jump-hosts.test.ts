// The way to a host leads through a jump host or a proxy command: what fails there is told as theirs, with a remedy that is theirs.
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { freePort, sshdMissing, startSshd, waitFor } from '../../real/index.ts';
import { processesWith, sshRig, waitOf } from './rig.ts';

/** A server that takes connections and says nothing. */
async function listenOn(t: Test): Promise<AddressInfo> {
  const server = createServer((client) => client.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return server.address() as AddressInfo;
}

t.test('a jump host', { skip: sshdMissing() }, async (t) => {
  const rig = await sshRig(t);
  const gate = await startSshd();
  t.teardown(() => gate.stop());
  const known = join(rig.sshd.folder, 'gates');
  /** `gate` leads to the jump host, with its own keys and `key` of the account. */
  const throughGate = async ({ hostKey = true, key = gate.identity, more = [] as string[] } = {}) => {
    await writeFile(known, hostKey ? await readFile(gate.knownHosts, 'utf8') : '');
    const where = ['Host gate', `HostName ${gate.host}`, `Port ${String(gate.port)}`];
    const how = [`UserKnownHostsFile ${known}`, `IdentityFile ${key}`, 'IdentitiesOnly yes', ...more, ''];
    await writeFile(rig.sshd.sshConfig, [...where, ...how].join('\n'));
  };

  await t.test('leads to the host', async (t) => {
    await throughGate();
    t.equal(await rig.refusal({ jump: 'gate' }), 'opened');
    rig.pool.drop(rig.route({ jump: 'gate' }));
  });
  await t.test('its host key is not known', async (t) => {
    await throughGate({ hostKey: false });
    t.match(
      await rig.refusal({ jump: 'gate' }),
      /^ssh_jump_key_unknown\nthe host key of the jump host gate of SSH target 'box' is not known\nHost key verification failed\.\nRun `bmuxd login box`[^]*of gate in ssh_config must be a file/,
    );
  });
  await t.test('its host key has changed', async (t) => {
    await throughGate();
    const other = await readFile(`${rig.sshd.identity}.pub`, 'utf8');
    await writeFile(known, `[${gate.host}]:${String(gate.port)} ${other}`);
    t.match(
      await rig.refusal({ jump: 'gate' }),
      /^ssh_jump_key_changed\nthe host key of the jump host gate [^]*Offending ED25519 key in [^]*ssh-keygen -f [^]*bmuxd login box/,
    );
  });
  await t.test('the key for it has a passphrase', async (t) => {
    await throughGate({ key: await gate.addKey('secret', { passphrase: 'open sesame' }) });
    t.match(
      await rig.refusal({ jump: 'gate' }),
      /^ssh_login_wanted\n.*: at the jump host gate, the key \S+secret needs its passphrase[^]*bmuxd login box/,
    );
  });
  await t.test('the key for the host has one', async (t) => {
    await throughGate();
    const identityFile = await rig.sshd.addKey('secret', { passphrase: 'open sesame' });
    t.match(
      await rig.refusal({ jump: 'gate', identityFile }),
      /^ssh_login_wanted\n.*needs a person: the key \S+secret needs its passphrase/,
    );
  });
  await t.test('the host denies the login, and the key of the jump host is not blamed', async (t) => {
    await throughGate();
    const identityFile = await rig.sshd.addKey('stranger', { accepted: false });
    t.match(await rig.refusal({ jump: 'gate', identityFile }), /^ssh_denied\n/);
  });
  await t.test('it is no name of a host', async (t) => {
    for (const jump of ['', 'gate, gate', '-oProxyCommand=x'])
      t.match(await rig.refusal({ jump }), /^ssh_config_unusable\n[^]*Invalid -J argument\n.*`jump`/, jump);
  });
  const noProc = process.platform !== 'linux' && 'processes are found in /proc';
  await t.test('it takes a connection and says nothing', { skip: noProc }, async (t) => {
    const { port } = await listenOn(t);
    const other = rig.poolOf('other');
    const route = rig.route({ jump: `127.0.0.1:${String(port)}` });
    const waiting = t.rejects(other.stream(route, waitOf(3000)), { code: 'ssh_connect_timeout' });
    const toIt = async (): Promise<number> =>
      (await processesWith(`-p\0${String(port)}\0`)).filter(({ line }) => line.includes('-W')).length;
    await waitFor('the ssh to it', async () => (await toIt()) === 1);
    await waiting;
    await other.close();
    await waitFor('its end', async () => (await toIt()) === 0);
  });
  await t.test('the host key of the host is not known', async (t) => {
    await throughGate();
    const knownHostsFile = join(rig.sshd.folder, 'none');
    t.match(await rig.refusal({ jump: 'gate', knownHostsFile }), /^ssh_host_key_unknown\n/);
  });
  await t.test('it cannot be reached, and the remedy leads to it', async (t) => {
    const port = String(await freePort());
    t.match(
      await rig.refusal({ jump: `ada@127.0.0.1:${port}` }),
      new RegExp(
        `^ssh_jump_failed\n.* the jump host ada@127\\.0\\.0\\.1:${port} failed[^]*Connection refused\nTry \`ssh -l ada -p ${port} 127\\.0\\.0\\.1 true\``,
      ),
    );
  });
  await t.test('the second of two', async (t) => {
    await throughGate({ more: ['Host second', `HostName ${gate.host}`, `Port ${String(await freePort())}`] });
    t.match(
      await rig.refusal({ jump: 'gate,second' }),
      /^ssh_jump_failed\n.* the jump host second failed[^]*Connection refused\n[^]*Try `ssh second true`/,
    );
  });
  await t.test('it is reached through itself', async (t) => {
    await throughGate({ more: ['ProxyJump gate'] });
    t.match(
      await rig.refusal({ jump: 'gate' }),
      /^ssh_config_unusable\n.*\njumphost loop via gate\nSet `ProxyJump none` for the host gate in ssh_config\.$/,
    );
    if (process.platform !== 'linux') return;
    const through = `${rig.sshd.sshConfig}\0-v\0-W\0`;
    await waitFor('the end of each ssh', async () => (await processesWith(through)).length === 0);
  });
  await t.test('it cannot reach the host', async (t) => {
    await throughGate();
    t.match(
      await rig.refusal({ jump: 'gate', port: await freePort() }),
      /^ssh_unreachable\n[^]*Connection refused/,
    );
    t.match(await rig.refusal({ jump: 'gate', host: 'nosuch.invalid' }), /^ssh_host_unknown\n/);
  });
});

t.test('a ProxyCommand that fails', { skip: sshdMissing() }, async (t) => {
  const rig = await sshRig(t);
  await writeFile(rig.sshd.sshConfig, 'ProxyCommand sh -c "echo the token has expired >&2; exit 3"\n');
  t.match(
    await rig.refusal(),
    /^ssh_proxy_failed\nthe ProxyCommand of SSH target 'box' failed\nthe token has expired\nRun `bmuxd login box`/,
  );
  await writeFile(rig.sshd.sshConfig, 'ProxyCommand nosuch-proxy %h\n');
  t.match(await rig.refusal(), /^ssh_proxy_failed\n/);
  // It ends with its ssh, as a proxy does.
  await writeFile(rig.sshd.sshConfig, 'ProxyCommand sh -c "while read -r line; do :; done"\n');
  t.match(
    await rig.refusal({}, 3000),
    /^ssh_connect_timeout\n[^]*waited for the first line of an SSH server behind the ProxyCommand\n/,
  );
  // Each ssh of it starts the next one.
  await writeFile(rig.sshd.sshConfig, 'ProxyCommand ssh -W %h:%p box\n');
  t.match(
    await rig.refusal({ host: 'box' }, 60_000),
    /^ssh_config_unusable\n.*\nits ProxyCommand has started more than 40 processes\n.*set `ProxyCommand none`/,
  );
});
