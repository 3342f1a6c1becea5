// Tests contexts on the real daemon: which environment counts, what a change of a file does and when, and how many contexts there may be.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Failure, OpenStreamOptions } from '../../../client-shim/index.ts';
import type { Status, TargetList } from '../../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { TestClient } from '../../embedded/client.ts';
import {
  targetSocketEnv,
  targetSocketIs,
  targetSocketPath,
  isThere,
  madeAnew,
} from '../../target-sockets/target-socket.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { waitFor } from '../../real/child.ts';

t.setTimeout(300_000);

const failureOf = async (work: Promise<unknown>): Promise<Failure['data']> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof Error && 'data' in error) return (error as Failure).data;
    throw error;
  }
  throw new Error('the request did not fail');
};

/** Makes another runtime dir and config dir, and returns an environment that names them. */
async function otherRuntimeDir(bmuxd: Bmuxd, name: string): Promise<Record<string, string>> {
  const folder = join(bmuxd.folder, name);
  for (const part of ['run', 'config']) await mkdir(join(folder, part), { recursive: true });
  return { ...bmuxd.env, BMUX_RUNTIME_DIR: join(folder, 'run'), BMUX_CONFIG_DIR: join(folder, 'config') };
}

/** The folder of the target socket of the target `local` in the context of `env`. */
async function folderOf(bmuxd: Bmuxd, env: Readonly<Record<string, string>>): Promise<string> {
  return (await targetSocketEnv(bmuxd, 'local', env))['BMUX_RUNTIME_DIR'] ?? '';
}

const names = (answer: { readonly stdout: string }): string[] =>
  (JSON.parse(answer.stdout) as TargetList).targets.map((row) => row.name);

t.test('callers with different runtime dirs reach different servers at the same time', async (t) => {
  const bmuxd = await startBmuxd({ settings: '[contexts]\nmax = 3\n' });
  t.teardown(() => bmuxd.stop());
  const here = bmuxd.env;
  const there = await otherRuntimeDir(bmuxd, 'there');
  const nowhere = await otherRuntimeDir(bmuxd, 'nowhere');
  const servers = await Promise.all(
    [here, there].map((env, index) =>
      EmbeddedServer.start({
        socketPath: join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
        epoch: index === 0 ? 3 : 4,
      }),
    ),
  );
  for (const server of servers) t.teardown(() => server.stop());
  const ask = (env: Readonly<Record<string, string>>) => bmuxd.open({ env, socketPath: bmuxd.socketPath });
  const [first, second, third] = await Promise.all([ask(here), ask(there), failureOf(ask(nowhere))]);
  t.same([first.info.epoch, second.info.epoch], [3, 4]);
  t.equal(third.code, 'server_not_running');
  for (const { stream } of [first, second]) stream.destroy();

  await t.test('a request without an environment uses the context of the daemon', async (t) => {
    const own = (await bmuxd.http('GET', '/v1/targets')).body as TargetList;
    t.equal(own.targets[0]?.address, `local:${join(here['BMUX_RUNTIME_DIR'] ?? '', 'server.sock')}`);
  });

  await t.test('a relative path is resolved from the working dir of the caller', async (t) => {
    const env = { ...here, BMUX_RUNTIME_DIR: 'run' };
    const cwd = join(bmuxd.folder, 'there');
    const { stream, info } = await bmuxd.open({ env, cwd, socketPath: bmuxd.socketPath });
    t.equal(info.epoch, 4);
    stream.destroy();
  });

  await t.test(
    'above the maximum the least recently used contexts are removed, but not the own context',
    async (t) => {
      for (const name of ['a', 'b', 'c', 'd'])
        t.equal((await failureOf(ask(await otherRuntimeDir(bmuxd, name)))).code, 'server_not_running');
      const { contexts } = await bmuxd.status();
      t.same(
        new Set(contexts.map((row) => row.runtimeDir)),
        new Set([here['BMUX_RUNTIME_DIR'], join(bmuxd.folder, 'c/run'), join(bmuxd.folder, 'd/run')]),
      );
    },
  );

  await t.test('an unknown slot of a caller is not a problem of the daemon', async (t) => {
    const failure = await failureOf(ask({ ...here, BMUX_SLOT_NAME: 'x' }));
    t.match(failure, { code: 'slot_unknown', exitStatus: 5 });
    t.match(await bmuxd.status(), { state: 'ready', problems: [] });
  });
});

t.test(
  'a new config is in force at the next request; a broken one leaves the last good one in force',
  async (t) => {
    const bmuxd = await startBmuxd({ config: '[connections]\ndefault_target = "local"\n' });
    t.teardown(() => bmuxd.stop());
    const server = await EmbeddedServer.start({
      socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
      epoch: 4,
    });
    t.teardown(() => server.stop());
    const live = new TestClient((await bmuxd.open()).stream);
    const file = join(bmuxd.env['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml');
    const target = (name: string): string =>
      `[connections.targets.${name}]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n`;
    const ask = (options: OpenStreamOptions): Promise<Failure['data']> => failureOf(bmuxd.open(options));

    for (const name of ['one', 'two', 'three']) {
      await bmuxd.configure('bmux.toml', target(name));
      t.equal((await ask({ target: name })).code, 'tls_unreachable', `${name} is known at the next request`);
    }

    await bmuxd.configure('bmux.toml', `${target('four')}transport = "telnet"\n`);
    t.equal((await ask({ target: 'three' })).code, 'tls_unreachable', 'the last good config is in force');
    await bmuxd.configure('bmux.toml', `${target('four')}connect_timeout_ms = "soon"\n`);
    // No request is made, so the watchers have to notice the change.
    await waitFor('the error in the status', async () =>
      JSON.stringify((await bmuxd.status()).problems).includes('connect_timeout_ms'),
    );
    const status = await bmuxd.bmuxd(['status']);
    t.equal(status.status, 1);
    t.match(status.stdout, `${file}:5: `);
    t.match(status.stdout, 'connect_timeout_ms');
    t.match(status.stdout, ': degraded');
    await waitFor('the error in the log', () => bmuxd.log().includes(`${file}:5: `));
    const { stream, info } = await bmuxd.open({ target: 'local' });
    stream.destroy();
    t.match(info.warnings.join('\n'), /connect_timeout_ms.*the last good config is in force/);
    const reloaded = await bmuxd.bmuxd(['reload']);
    t.equal(reloaded.status, 1);
    t.match(reloaded.stderr, `${file}:5: `);

    await bmuxd.configure('bmux.toml', target('five'));
    await waitFor('the status to be ready', async () => (await bmuxd.status()).state === 'ready');
    t.same(names(await bmuxd.bmuxd(['targets', '--json'])), ['local', 'five']);
    t.same(await bmuxd.bmuxd(['reload']), { status: 0, stdout: 'reloaded\n', stderr: '' });
    await live.ping();

    await t.test('bmuxd targets shows the targets of the caller', async (t) => {
      const there = await otherRuntimeDir(bmuxd, 'there');
      await writeFile(join(there['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml'), target('other'));
      t.same(names(await bmuxd.bmuxd(['targets', '--json'], there)), ['local', 'other']);
      const inline = 'iroh://ab?relay=https%3A%2F%2Fme%3Asecret%40relay&x=https://me:secret@relay';
      const chosen = await bmuxd.bmuxd(['targets'], { ...there, BMUX_TARGET: inline });
      t.match(chosen.stdout, /^\* iroh:\/\/ab/m);
      t.notMatch(
        chosen.stdout + (await bmuxd.bmuxd(['targets', '--json'], { ...there, BMUX_TARGET: inline })).stdout,
        'secret',
      );
    });
  },
);

t.test('a daemon that starts with a broken config shows the errors in its status', async (t) => {
  const bmuxd = await startBmuxd({
    config: '[connections\n',
    settings: 'streams = { client_buffer_limit = "much" }\n',
  });
  t.teardown(() => bmuxd.stop());
  await waitFor('the own context to be read', async () => (await bmuxd.status()).problems.length === 2);
  const { state, problems } = (await bmuxd.http('GET', '/v1/status')).body as Status;
  t.equal(state, 'degraded');
  t.match(JSON.stringify(problems), /bmux\.toml:1: /);
  t.match(JSON.stringify(problems), /bmuxd\.toml:1: streams\.client_buffer_limit/);
  t.equal((await bmuxd.http('GET', '/v1/health')).status, 200);
  const waited = await bmuxd.bmuxd(['status', '--wait', '0.2', '--json']);
  t.equal(waited.status, 1);
  t.match(JSON.parse(waited.stdout), { schema: 1, state: 'degraded', pid: bmuxd.pid });
  await writeFile(bmuxd.env['BMUXD_CONFIG'] ?? '', '');
  await bmuxd.configure('bmux.toml', '');
  t.equal((await bmuxd.bmuxd(['status', '--wait', '10'])).status, 0);
});

t.test(
  'the files of a context with target sockets stay watched, however many other contexts come',
  async (t) => {
    const bmuxd = await startBmuxd({ settings: '[contexts]\nmax = 2\n' });
    t.teardown(() => bmuxd.stop());
    const here = (name: string): string => `[connections.targets.${name}]\ntransport = "local"\n`;
    const config = join(bmuxd.folder, 'target sockets');
    await mkdir(config);
    await writeFile(join(config, 'bmux.toml'), here('one'));
    const env = { BMUX_CONFIG_DIR: config };
    const server = await EmbeddedServer.start({
      socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
      epoch: 4,
    });
    t.teardown(() => server.stop());
    const { stdout } = await bmuxd.bmuxd(['env', 'one', '--shell', 'json'], env);
    const folder = (JSON.parse(stdout) as { BMUX_RUNTIME_DIR: string }).BMUX_RUNTIME_DIR;
    for (const name of ['a', 'b', 'c', 'd'])
      await bmuxd.bmuxd(['targets'], { BMUX_DATA_DIR: join('/', name) });
    await writeFile(join(config, 'bmux.toml'), here('one') + here('two'));
    await targetSocketIs(true, join(folder, '..', 'two', 'server.sock'));
    t.pass('the change of its config is in force');
  },
);

t.test('variables that change nothing in the config make no context of their own', async (t) => {
  const bmuxd = await startBmuxd({ settings: '[contexts]\nmax = 2\n' });
  t.teardown(() => bmuxd.stop());
  const there = await otherRuntimeDir(bmuxd, 'there');
  for (const runtimeDir of [bmuxd.env['BMUX_RUNTIME_DIR'], there['BMUX_RUNTIME_DIR']]) {
    const server = await EmbeddedServer.start({
      socketPath: join(runtimeDir ?? '', 'server.sock'),
      epoch: 4,
    });
    t.teardown(() => server.stop());
  }
  const reach = async (env: Readonly<Record<string, string>>, target = 'local'): Promise<string> => {
    const { stream, info } = await bmuxd.open({ env, target, socketPath: bmuxd.socketPath });
    stream.destroy();
    return info.target;
  };
  await reach(there);
  const shell = join(await folderOf(bmuxd, there), 'server.sock');
  for (const name of ['a', 'b', 'c'])
    await reach({ ...bmuxd.env, TMPDIR: join('/', name), HOST: name, XDG_DATA_HOME: join('/', name) });
  t.equal((await bmuxd.status()).contexts.length, 2);
  const own = await folderOf(bmuxd, { TMPDIR: '/a' });
  t.equal(own, join(bmuxd.folder, 'd', 'targets', 'local'));
  t.equal(await folderOf(bmuxd, { HOST: 'b' }), own);
  await targetSocketIs(true, shell);

  await t.test('a variable that the config reads makes a context of its own', async (t) => {
    const two = '[connections.targets.two]\ntransport = "local"\n';
    await bmuxd.configure(
      'bmux.toml',
      '[[composition.auto_select]]\nprofile = "b"\nhost = "b"\n' +
        two.replace('connections', 'composition.profiles.b.patch.connections'),
    );
    const seen = async (env: Readonly<Record<string, string>>): Promise<string[]> =>
      names(await bmuxd.bmuxd(['targets', '--json'], env));
    t.same(await seen({ HOST: 'a' }), ['local']);
    t.same(await seen({ HOST: 'b' }), ['local', 'two']);
    t.same(await seen({}), ['local']);
    t.equal((await bmuxd.status()).contexts.length, 3);
    const folder = await folderOf(bmuxd, { HOST: 'b' });
    t.match(folder, /\/targets-[0-9a-f]{8}\/local$/);
    await targetSocketIs(true, join(folder, '..', 'two', 'server.sock'));
    t.equal(await folderOf(bmuxd, {}), own);
    t.notOk(isThere(join(own, '..', 'two')));

    // When the config no longer reads it, the callers share the own context again.
    await bmuxd.leave();
    await bmuxd.configure('bmux.toml', two);
    await madeAnew([join(folder, '..', 'two', 'server.sock'), join(own, 'server.sock')], async () => {
      const next = await startBmuxd({ sandbox: bmuxd });
      t.teardown(() => next.stop());
    });
    await targetSocketIs(true, join(own, '..', 'two', 'server.sock'));
  });
});

t.test('targets of the same name in different contexts have a status row each', async (t) => {
  const local = (name: string): string => `[connections.targets.${name}]\ntransport = "local"\n`;
  const link = '[connections.share_links]\nhost = "local"\n';
  const bmuxd = await startBmuxd({ config: local('one') + link });
  t.teardown(() => bmuxd.stop());
  const there = await otherRuntimeDir(bmuxd, 'there');
  const beside = await otherRuntimeDir(bmuxd, 'beside');
  for (const env of [there, beside])
    await writeFile(join(env['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml'), local('one') + link);
  const sockets = [bmuxd.env, there].map((env) => join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'));
  for (const socketPath of sockets) {
    const server = await EmbeddedServer.start({ socketPath, epoch: 4 });
    t.teardown(() => server.stop());
  }
  const shown = sockets.map((path) => `local:${path}`);
  const reach = async (env: Readonly<Record<string, string>>, target: string): Promise<void> => {
    const { stream } = await bmuxd.open({ env, target, socketPath: bmuxd.socketPath });
    stream.end();
    stream.resume();
    await waitFor('the stream to be over', async () =>
      (await bmuxd.upstreams()).every(({ streams }) => streams === 0),
    );
  };
  const rows = async (): Promise<string[]> => (await bmuxd.upstreams()).map(({ address }) => address);
  await reach(bmuxd.env, 'bmux://host');
  await reach(there, 'bmux://host');
  t.same(await rows(), shown);

  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'));
  await reach({ ...beside, BMUX_RUNTIME_DIR: bmuxd.env['BMUX_RUNTIME_DIR'] ?? '' }, 'one');
  await reach(bmuxd.env, 'one');
  await bmuxd.configure('bmux.toml', '');
  await targetSocketIs(false, targetSocketPath(bmuxd, 'one'));
  await waitFor('the reload', async () => (await bmuxd.bmuxd(['reload'])).status === 0);
  t.same(new Set(await rows()), new Set(shown));
});
