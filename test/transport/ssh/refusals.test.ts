// What a real sshd, and the account behind it, can refuse: each has a code of its own, with ssh's own words and a remedy.
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { freePort, hasSshAgent, sshdMissing, startAgent, waitFor } from '../../real/index.ts';
import { listen } from '../ssh-auth/rig.ts';
import { sshRig, writeProgram } from './rig.ts';

/** SSH_AGENTC_SIGN_REQUEST */
const SIGN_REQUEST = 13;
const noAgent = !hasSshAgent() && 'ssh-agent not found';

t.test('refusals', { skip: sshdMissing() }, async (t) => {
  const rig = await sshRig(t);
  const { sshd } = rig;
  const program = (name: string, script: string): Promise<string> => writeProgram(sshd, name, script);

  await t.test('a host key that is not known', async (t) => {
    t.match(
      await rig.refusal({ knownHostsFile: join(sshd.folder, 'none') }),
      /^ssh_host_key_unknown\n[^]*No ED25519 host key is known[^]*bmuxd login box/,
    );
    t.equal(await rig.refusal({ knownHostsFile: '/dev/null', strictHostKeyChecking: false }), 'opened');
    for (const strictHostKeyChecking of [true, false])
      t.match(
        await rig.refusal({ knownHostsFile: 'none', strictHostKeyChecking }),
        /^ssh_host_key_unknown\n[^]*set known_hosts_file \([^]*not to `none`/,
      );
  });
  await t.test('a host key that has changed', async (t) => {
    const other = await readFile(`${await sshd.addKey('other', { accepted: false })}.pub`, 'utf8');
    const changed = join(sshd.folder, 'changed');
    await writeFile(changed, `[127.0.0.1]:${String(sshd.port)} ${other}`);
    t.match(
      await rig.refusal({ knownHostsFile: changed }),
      /^ssh_host_key_changed\n[^]*Offending ED25519 key[^]*ssh-keygen -R/,
    );
  });
  await t.test('a host key that is marked as revoked', async (t) => {
    const revoked = join(sshd.folder, 'revoked');
    await writeFile(revoked, `@revoked * ${await readFile(join(sshd.folder, 'host.pub'), 'utf8')}`);
    t.match(
      await rig.refusal({ knownHostsFile: revoked }),
      /^ssh_host_key_revoked\n(?![^]*@@@)[^]*is marked as revoked[^]*Do not log in/,
    );
  });
  await t.test('a key that is not accepted', async (t) => {
    const identityFile = await sshd.addKey('stranger', { accepted: false });
    t.match(
      await rig.refusal({ identityFile }),
      /^ssh_denied\n[^]*Permission denied \(publickey\)[^]*ssh-add/,
    );
  });
  await t.test('a key with a passphrase', async (t) => {
    const identityFile = await sshd.addKey('secret', { passphrase: 'open sesame' });
    t.match(
      await rig.refusal({ identityFile }),
      /^ssh_login_wanted\n.*the key \S+secret needs its passphrase[^]*bmuxd login box/,
    );
  });
  await t.test('a key file that ssh does not use', async (t) => {
    const identityFile = await sshd.addKey('open');
    await chmod(identityFile, 0o644);
    t.match(
      await rig.refusal({ identityFile }),
      /^ssh_denied\n(?=[^]*Permissions 0644)[^]*run `chmod 600 \S+open`/,
    );
    await writeFile(identityFile, 'no key', { mode: 0o600 });
    await chmod(identityFile, 0o600);
    t.match(await rig.refusal({ identityFile }), /^ssh_denied\n[^]*ssh cannot use the key \S+open \(/);
  });
  await t.test('options that ssh cannot read', async (t) => {
    for (const wrong of [
      { identityFile: '~no-such-user/id' },
      { knownHostsFile: '' },
      { knownHostsFile: '"a' },
      { knownHostsFile: 'none b' },
    ])
      t.match(await rig.refusal(wrong), /^ssh_config_unusable\n[^]*known_hosts_file/, JSON.stringify(wrong));
  });
  await t.test('lines of ssh_config that ssh cannot read', async (t) => {
    const good = await readFile(sshd.sshConfig, 'utf8');
    for (const wrong of ['ServerAliveInterval soon', 'NoSuchOption yes', `Include ${sshd.sshConfig}`]) {
      await writeFile(sshd.sshConfig, `${wrong}\n${good}`);
      t.match(await rig.refusal({ host: 'box' }), /^ssh_config_unusable\n/, wrong);
    }
    await writeFile(sshd.sshConfig, good);
  });
  await t.test('what listens there is a server of HTTP', async (t) => {
    const http = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    t.teardown(() => http.close());
    const { port } = http.address() as AddressInfo;
    t.match(await rig.refusal({ port }), /^ssh_login_failed\n[^]*What listens there is no SSH server/);
  });
  await t.test('files of a folder with % in its name, and several of known hosts', async (t) => {
    for (const name of ['My%20Work', 'My "20%" \\Work\\']) {
      const folder = join(sshd.folder, name);
      await mkdir(folder);
      await copyFile(sshd.identity, join(folder, 'id'));
      const route = {
        identityFile: join(folder.replaceAll('%', '%%'), 'id'),
        knownHostsFile: `/nonexistent ${sshd.knownHosts}`,
        // A login of its own.
        user: userInfo().username,
      };
      t.equal(await rig.refusal(route), 'opened', name);
    }
  });
  await t.test('a key whose agent asks a person, who does nothing', { skip: noAgent }, async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const key = await agent.addKey('ed25519', 'agents');
    await writeFile(join(sshd.folder, 'accepted'), `${key}\n`, { flag: 'a' });
    const asking = await listen(t, (client) => {
      const real = connect(agent.socket);
      real.pipe(client);
      client.once('close', () => real.destroy());
      // ssh writes the length and the message one after the other.
      client.on('data', (message) => {
        if (message[0] !== SIGN_REQUEST && message[4] !== SIGN_REQUEST) real.write(message);
      });
    });
    t.match(
      await rig.refusal({ identityFile: 'none', agentSocket: asking }, 3000),
      /^ssh_login_wanted\n.*nobody has confirmed the use of the key agents in time[^]*bmuxd login box/,
    );
  });
  await t.test('nobody listens, or the name leads nowhere', async (t) => {
    t.match(await rig.refusal({ port: await freePort() }), /^ssh_unreachable\n[^]*Connection refused/);
    t.match(
      await rig.refusal({ host: 'nosuch.invalid' }),
      /^ssh_host_unknown\n[^]*Could not resolve hostname/,
    );
  });
  await t.test('a jump host that cannot be reached', async (t) => {
    t.match(
      await rig.refusal({ jump: `127.0.0.1:${String(await freePort())}` }),
      /^ssh_jump_failed\n[^]*Connection refused/,
    );
  });
  await t.test('a jump host that denies the login', async (t) => {
    const stranger = await sshd.addKey('jumper', { accepted: false });
    await writeFile(
      sshd.sshConfig,
      [
        'Host gate',
        'HostName 127.0.0.1',
        `Port ${String(sshd.port)}`,
        `UserKnownHostsFile ${sshd.knownHosts}`,
        `IdentityFile ${stranger}`,
        'IdentitiesOnly yes',
        '',
      ].join('\n'),
    );
    t.match(
      await rig.refusal({ jump: 'gate' }),
      /^ssh_jump_failed\n[^]*Permission denied[^]*to the jump host/,
    );
    await writeFile(sshd.sshConfig, '');
  });
  await t.test('a bmux that is not there, or too old', async (t) => {
    t.match(await rig.refusal({ remoteBmuxPath: 'nosuch-bmux' }), /^ssh_bmux_missing\n.*as nosuch-bmux/);
    const old = await program(
      'old',
      'case "$*" in --version) echo bmux 0.0.0;; *) echo "error: unrecognized subcommand" >&2; exit 2;; esac',
    );
    t.match(await rig.refusal({ remoteBmuxPath: old }), /^ssh_bmux_unsuitable\n/);
  });
  await t.test('a shell that prints', async (t) => {
    const identityFile = await sshd.addKey('chatty', {
      options: 'command="echo Welcome to box; eval $SSH_ORIGINAL_COMMAND"',
    });
    t.match(await rig.refusal({ identityFile }), /^ssh_shell_prints\n.*: "Welcome to box"/);
    for (const [name, prints] of [
      ['endless', 'yes Welcome'],
      ['waiting', 'echo Welcome; sleep 600'],
    ] as const) {
      const key = await sshd.addKey(name, { options: `command="${prints}"` });
      t.match(await rig.refusal({ identityFile: key }), /^ssh_shell_prints\n.*: "Welcome"/, prints);
    }
  });
  const noBash = userInfo().shell?.endsWith('/bash') !== true && 'the shell of this account is not bash';
  await t.test('an rc file that prints', { skip: noBash }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'rc-'));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const rc = join(folder, '.bashrc');
    await writeFile(rc, 'echo loading the aliases\n');
    // Some builds of bash read the one, some the other.
    const printing = await sshRig(t, { env: { HOME: folder, BASH_ENV: rc } });
    t.match(await printing.refusal(), /^ssh_shell_prints\n.*: "loading the aliases"[^]*rc files/);
  });
  await t.test('a host, or the way to it, that falls silent: the step is named', async (t) => {
    /** Hands over `bytes` of what the host says. */
    const mute = async (bytes: number): Promise<number> => {
      const server = createServer((client) => {
        let left = bytes;
        const host = connect(sshd.port, sshd.host);
        for (const socket of [client, host]) socket.on('error', () => undefined);
        client.pipe(host);
        client.once('close', () => host.destroy());
        host.on('data', (chunk: Buffer) => {
          client.write(chunk.subarray(0, left));
          left = Math.max(0, left - chunk.length);
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      t.teardown(() => server.close());
      return (server.address() as AddressInfo).port;
    };
    // The ssh to a jump host takes the options of the target from ssh_config alone.
    await sshd.alias('*', ['StrictHostKeyChecking no']);
    const silent = async (bytes: number, fields: Parameters<typeof rig.refusal>[0] = {}): Promise<string> =>
      rig.refusal({ port: await mute(bytes), strictHostKeyChecking: false, ...fields }, 3000);
    const jump = `${sshd.host}:${String(sshd.port)}`;
    const asleep = await program('asleep', 'exec sleep 10');
    const [first, keys, behind, there] = await Promise.all([
      silent(0),
      silent(100),
      silent(0, { jump }),
      rig.refusal({ remoteBmuxPath: asleep }, 3000),
    ]);
    const waited = (what: string): RegExp => new RegExp(`^ssh_connect_timeout\n[^]*\nwaited for ${what}\n`);
    t.match(first, waited('the first line of an SSH server'));
    t.match(keys, waited('the host to exchange keys'));
    t.match(behind, waited('the first line of an SSH server behind the jump host'));
    t.match(there, waited('bmux there to answer'));
    await writeFile(sshd.sshConfig, '');
  });
  await t.test('a forced command', async (t) => {
    const forced = (name: string, command: string): Promise<string> =>
      sshd.addKey(name, { options: `command="${command}"` });
    const bridge = await forced('bridge', `${join(sshd.folder, 'bmux')} server bridge --stdio`);
    t.equal(await rig.refusal({ identityFile: bridge }), 'opened', 'a bridge serves');
    const other = await forced('backup', 'exit 3');
    t.match(await rig.refusal({ identityFile: other }), /^ssh_bridge_failed\n.*status 3/);
    const missing = await forced('missing', 'nosuch-program');
    t.match(await rig.refusal({ identityFile: missing }), /^ssh_bmux_missing\n/);
  });
  await t.test('no server, where none is to be started', async (t) => {
    const stopped = await program(
      'stopped',
      'case "$*" in --version) echo bmux 0.0.1-alpha.4;; *) echo bmux server is not running; exit 1;; esac',
    );
    t.match(
      await rig.refusal({ remoteBmuxPath: stopped, startsServer: false }),
      /^ssh_server_not_running\n[^]*server_start_mode/,
    );
    t.match(await rig.refusal({ remoteBmuxPath: stopped }), /^ssh_server_start_failed\n/);
  });
});

t.test('a host that is full', { skip: sshdMissing() }, async (t) => {
  await t.test('it allows no session', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 0' });
    t.match(await rig.refusal(), /^ssh_session_refused\n[^]*MaxSessions/);
  });
  await t.test('every login has all its sessions', async (t) => {
    const rig = await sshRig(t, { config: 'MaxSessions 1\nMaxStartups 100' });
    for (let at = 1; at <= 8; at += 1) await rig.open();
    t.match(await rig.refusal(), /^ssh_session_refused\n[^]*MaxSessions/);
    t.equal(rig.logins(), 8);
  });
  await t.test('others are logging in', async (t) => {
    const rig = await sshRig(t, { config: 'MaxStartups 1' });
    const begun = await undecided(rig.sshd.port);
    t.teardown(() => begun.destroy());
    t.match(await rig.refusal(), /^ssh_logins_refused\n[^]*Exceeded MaxStartups[^]*MaxStartups/);
    begun.destroy();
    await waitFor('a login', async () => (await rig.refusal()) === 'opened');
  });
});

/** A connection that sshd has taken, and on which nobody logs in. */
async function undecided(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const [said] = (await once(socket, 'data')) as [Buffer];
    if (said.toString().startsWith('SSH-')) return socket;
    // The fixture's own connection has the place still.
    socket.destroy();
  }
}
