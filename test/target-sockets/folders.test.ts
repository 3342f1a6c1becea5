// Tests which target sockets there are: those of the config, in every context with clients, after a restart, and when another process binds there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { makeSandbox, startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { hasSshAgent, startAgent, waitFor } from '../real/index.ts';
import {
  connected,
  targetSocketEnv,
  targetSocketIs,
  targetSocketPath,
  eventsOf,
  isThere,
  madeAnew,
} from './target-socket.ts';
import { targetToml } from './ways.ts';

t.setTimeout(300_000);

const here = (name: string): string => `[connections.targets.${name}]\ntransport = "local"\n`;
const serverIn = (runtimeDir: string): Promise<EmbeddedServer> =>
  EmbeddedServer.start({ socketPath: join(runtimeDir, 'server.sock'), epoch: 4 });

/** Resolves when a client of the target socket is answered. */
async function greeted(path: string): Promise<void> {
  const client = new TestClient(await connected(path));
  await client.hello();
  await client.ping();
  await client.close();
}

t.test('there is a target socket for each target of the config', async (t) => {
  const bmuxd = await startBmuxd({
    config: here('one') + '[connections.targets.broken]\ntransport = "tls"\n',
  });
  t.teardown(() => bmuxd.stop());
  const server = await serverIn(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '');
  t.teardown(() => server.stop());
  const one = targetSocketPath(bmuxd, 'one');
  await targetSocketIs(true, one);
  t.equal((await stat(dirname(one))).mode & 0o777, 0o500);
  t.ok((await lstat(dirname(one))).isSymbolicLink());
  t.equal((await stat(dirname(dirname(one)))).mode & 0o777, 0o700);
  t.notOk(
    isThere(targetSocketPath(bmuxd, 'broken')),
    'a target that cannot be resolved has no target socket',
  );
  t.match(await bmuxd.bmuxd(['env', 'broken']), { status: 1, stderr: /^TLS target 'broken' requires host/ });
  await greeted(one);

  const live = new TestClient(await connected(one));
  await live.hello();
  const since = performance.now();
  await bmuxd.configure('bmux.toml', here('two'));
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'));
  await targetSocketIs(false, one);
  t.comment(`in force after ${String(Math.round(performance.now() - since))} ms`);
  await greeted(targetSocketPath(bmuxd, 'two'));
  await live.ping();
  await live.close();

  await bmuxd.configure('bmux.toml', 'this is no TOML');
  await waitFor('the broken config to be noticed', async () => (await bmuxd.status()).problems.length > 0);
  await greeted(targetSocketPath(bmuxd, 'two'));

  t.test('inline targets and names that are not safe as file names', async (t) => {
    await bmuxd.configure('bmux.toml', `${here('"Prod / eu"')}${here('two')}`);
    await waitFor('the config to be valid', async () => (await bmuxd.status()).problems.length === 0);
    const env = await targetSocketEnv(bmuxd, 'Prod / eu');
    t.match(env['BMUX_RUNTIME_DIR'], /\/d\/targets\/Prod-eu-[0-9a-f]{10}$/);
    await greeted(join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'));
    const unreachable = await bmuxd.bmuxd(['env', 'tls://127.0.0.1:1']);
    t.match(unreachable, {
      status: 1,
      stdout: 'false\n',
      stderr: /^TLS target unreachable: tls:\/\/127\.0\.0\.1:1\n/,
    });
    const misspelt = await bmuxd.bmuxd(['env', 'twoo', '--shell', 'json']);
    t.match(misspelt, { status: 2, stderr: /^target 'twoo' is not configured; did you mean two\?\n/ });
  });
});

t.test('contexts with clients have target sockets again after a restart', async (t) => {
  const bmuxd = await startBmuxd({ config: here('one'), settings: '[contexts]\nmax = 2\n' });
  t.teardown(() => bmuxd.stop());
  const otherContext = async (name: string): Promise<Record<string, string>> => {
    const folder = join(bmuxd.folder, name);
    for (const part of ['run', 'config']) await mkdir(join(folder, part), { recursive: true });
    await writeFile(join(folder, 'config', 'bmux.toml'), here('one') + here('other'));
    const server = await serverIn(join(folder, 'run'));
    t.teardown(() => server.stop());
    return { BMUX_RUNTIME_DIR: join(folder, 'run'), BMUX_CONFIG_DIR: join(folder, 'config') };
  };
  const there = await otherContext('there');
  const env = await targetSocketEnv(bmuxd, 'one', there);
  const folder = env['BMUX_RUNTIME_DIR'] ?? '';
  t.match(folder, /\/d\/targets-[0-9a-f]{8}\/one$/);
  await greeted(join(folder, 'server.sock'));
  const other = join(dirname(folder), 'other', 'server.sock');
  await targetSocketIs(true, other);
  await greeted(other);
  t.ok(isThere(targetSocketPath(bmuxd, 'one')), 'the own context has its own target socket');

  await bmuxd.leave();
  const remembered = join(bmuxd.folder, 'xdg-state', 'bmuxd', 'contexts.json');
  // An older file does not contain the folder and the earlier agents.
  const kept = await readFile(remembered, 'utf8');
  t.match(kept, /"folder": "targets-/);
  await writeFile(
    remembered,
    kept.replace(/,\s*"folder": "[^"]*"/g, '').replace(/"earlierAgents": \[\],/g, ''),
  );
  const start = (): Promise<Bmuxd> => startBmuxd({ sandbox: bmuxd });
  const next = await madeAnew([other, targetSocketPath(bmuxd, 'one')], start);
  t.teardown(() => next.stop());
  await greeted(other);
  t.match(kept, /"version": 1/);
  t.notMatch(kept, /PATH/);

  await targetSocketEnv(next, 'one', await otherContext('third'));
  await targetSocketIs(false, other, 5000);
  const parents = (await readdir(join(bmuxd.folder, 'd'))).filter((name) => name.startsWith('targets-'));
  const served = parents.filter((name) => isThere(join(bmuxd.folder, 'd', name, 'one', 'server.sock')));
  t.equal(served.length, 1, 'as many contexts as the setting allows');
  t.ok(isThere(dirname(other)), 'the link without a folder is kept');

  await writeFile(join(next.folder, 'settings', 'bmuxd.toml'), '[contexts]\nmax = 1\n');
  t.match(await next.bmuxd(['reload']), { status: 0 });
  const fourth = dirname(
    (await targetSocketEnv(next, 'one', await otherContext('fourth')))['BMUX_RUNTIME_DIR'] ?? '',
  );
  await targetSocketIs(true, join(fourth, 'other', 'server.sock'));
  await greeted(join(fourth, 'other', 'server.sock'));
});

t.test('a caller without an SSH agent does not remove the agent of other callers', async (t) => {
  const bmuxd = await startBmuxd({ config: here('one') });
  t.teardown(() => bmuxd.stop());
  const server = await serverIn(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '');
  t.teardown(() => server.stop());
  const agents = async (): Promise<unknown> => {
    const text = await readFile(join(bmuxd.folder, 'xdg-state', 'bmuxd', 'contexts.json'), 'utf8');
    const { contexts } = JSON.parse(text) as { contexts: readonly { env: Record<string, string> }[] };
    return contexts.map(({ env }) => env['SSH_AUTH_SOCK']);
  };
  await targetSocketEnv(bmuxd, 'one', { SSH_AUTH_SOCK: '/agent/a' });
  t.strictSame(await agents(), ['/agent/a']);
  await targetSocketEnv(bmuxd, 'one');
  t.strictSame(await agents(), ['/agent/a']);
  await targetSocketEnv(bmuxd, 'one', { SSH_AUTH_SOCK: '/agent/b' });
  t.strictSame(await agents(), ['/agent/b']);
});

t.test(
  'when the SSH agent of a login ends, that of another login is used',
  { skip: !hasSshAgent() && 'ssh-agent not found' },
  async (t) => {
    const logins = [await startAgent(), await startAgent()] as const;
    const sandbox = await makeSandbox();
    const embedded = await launchEmbedded({
      socketPath: join(sandbox.folder, 'host.sock'),
      server: { epoch: 4 },
      iroh: {
        relays: 'disabled',
        compression: 'zstd',
        allowedKeys: await Promise.all(logins.map((login, at) => login.addKey('ed25519', String(at)))),
      },
    });
    const { endpointId, address } = embedded.iroh ?? {};
    const fields = { transport: 'iroh', endpoint_id: endpointId, iroh_ip_addr: address, iroh_ssh_auth: true };
    await sandbox.configure('bmux.toml', targetToml('one', fields) + targetToml('two', fields));
    const bmuxd = await startBmuxd({ sandbox });
    t.teardown(async () => {
      await bmuxd.stop();
      await Promise.all([embedded.stop(), ...logins.map((login) => login.stop())]);
      await sandbox.remove();
    });
    for (const { socket } of logins) await targetSocketEnv(bmuxd, 'one', { SSH_AUTH_SOCK: socket });
    await logins[1].stop();
    await greeted(targetSocketPath(bmuxd, 'one'));
    await embedded.command({ do: 'drop-iroh-connections' });
    await waitFor('the connections to be lost', async () =>
      (await bmuxd.upstreams()).every(({ warm }) => !warm),
    );
    await greeted(targetSocketPath(bmuxd, 'one'));
    await greeted(targetSocketPath(bmuxd, 'two'));
    await bmuxd.leave();
    await madeAnew([targetSocketPath(bmuxd, 'two')], async () => {
      const next = await startBmuxd({ sandbox });
      t.teardown(() => next.stop());
    });
    await greeted(targetSocketPath(bmuxd, 'two'));
  },
);

t.test(
  'the path of a target socket is taken back from a foreign socket',
  { skip: process.getuid?.() !== 0 && 'only root can bind there' },
  async (t) => {
    const bmuxd = await startBmuxd({ config: here('one') });
    t.teardown(() => bmuxd.stop());
    const server = await serverIn(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '');
    t.teardown(() => server.stop());
    const path = targetSocketPath(bmuxd, 'one');
    await targetSocketIs(true, path);
    // The socket is replaced in one step. After an unlink alone the daemon would make its socket again at once.
    const program = `const path = process.argv[1];
    require('node:net').createServer((socket) => socket.destroy()).listen(path + '~', () => {
      require('node:fs').renameSync(path + '~', path);
      console.log('bound');
    });`;
    const foreign = spawn(process.execPath, ['-e', program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => foreign.kill('SIGKILL'));
    await once(foreign.stdout, 'data');
    await waitFor(
      'the path to be taken back',
      async () => {
        const events = await eventsOf(bmuxd);
        return events.some((event) => event.type === 'target socket taken back' && event.target === 'one');
      },
      5000,
    );
    await waitFor(
      'our own socket at the path',
      () =>
        greeted(path).then(
          () => true,
          () => false,
        ),
      5000,
    );
    t.equal((await stat(dirname(path))).mode & 0o777, 0o500);
    t.match(bmuxd.log(), /was replaced by somebody/);
  },
);
