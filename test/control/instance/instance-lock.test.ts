// Tests that a runtime dir has one daemon even when its sockets are removed. They are bound again, unless another daemon has bound them.
import { once } from 'node:events';
import { link, mkdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { BMUXD, makeSandbox, startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { connected, targetSocketIs, targetSocketPath } from '../../target-sockets/target-socket.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { isAlive, waitFor } from '../../real/index.ts';
import { run } from '../../real/server.ts';
import { startWorld } from '../../engine/world.ts';
import type { StreamList } from '../../../daemon/api/answers.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';

const HERE = '[connections.targets.one]\ntransport = "local"\n';

async function live(bmuxd: Bmuxd): Promise<TestClient> {
  const { stream, info } = await bmuxd.open({ target: 'local' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  return client;
}

t.test('removed sockets are bound again', async (t) => {
  const bmuxd = await startBmuxd({ config: HERE });
  t.teardown(() => bmuxd.stop());
  const { env, folder, socketPath } = bmuxd;
  const server = await EmbeddedServer.start({
    socketPath: join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'));
  const client = await live(bmuxd);

  await unlink(socketPath);
  const second = await run(process.execPath, [BMUXD, 'run'], env);
  t.match(
    second,
    { status: 1, stderr: /^bmuxd is already running: pid / },
    'a second daemon is refused although the control socket is missing',
  );
  await waitFor('the control socket', () =>
    stat(socketPath).then(
      () => true,
      () => false,
    ),
  );
  t.match(await bmuxd.bmuxd(['status', '--wait', '20']), { status: 0 });
  await (await live(bmuxd)).close();

  // The folder is removed again and again for longer than a heartbeat of the engine, so that binding fails as well.
  const until = performance.now() + LIMITS.heartbeatMs + 500;
  while (performance.now() < until) {
    await rm(join(folder, 'd'), { recursive: true, force: true, maxRetries: 5, retryDelay: 5 });
    await sleep(5);
  }
  await waitFor('the daemon and its engine to answer again', async () => {
    const { status } = await bmuxd.bmuxd(['status']);
    return status === 0 && (await bmuxd.status()).engines.length === 1;
  });
  const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
  t.equal(streams.length, 1, 'the engine lists its live stream');
  t.equal(bmuxd.log().match(/engine starts/g)?.length, 1, 'no other engine was started');
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 10_000);
  const through = new TestClient(await connected(targetSocketPath(bmuxd, 'one')));
  await through.hello();
  await through.close();
  await client.ping();
  await client.close();
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
});

t.test('a control socket that was replaced by a link to the streams socket is bound again', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const other = `${bmuxd.socketPath}~`;
  await link(bmuxd.streamsPath, other);
  await rename(other, bmuxd.socketPath);
  const { ino } = await stat(bmuxd.streamsPath);
  await waitFor('the control socket', async () => (await stat(bmuxd.socketPath)).ino !== ino);
  t.match(await bmuxd.bmuxd(['status']), { status: 0 });
});

t.test('a stream that ends properly while the runtime dir is away is not told as lost', async (t) => {
  const { bmuxd } = await startWorld(t);
  for (const ms of [0, 5, 20, 40]) {
    const { stream } = await bmuxd.open({ target: 'tls' });
    await rm(join(bmuxd.folder, 'd'), { recursive: true, maxRetries: 5, retryDelay: 5 });
    await sleep(ms);
    stream.end();
    await t.resolves(once(stream.resume(), 'end'), `${ms} ms after its removal`);
    // The next one waits for the streams socket.
    await waitFor('the daemon to be back', async () => (await bmuxd.bmuxd(['status'])).status === 0);
  }
});

t.test('a runtime dir that is gone and cannot be made again is waited for', async (t) => {
  const sandbox = await makeSandbox({ config: HERE });
  t.teardown(() => sandbox.remove());
  // The control socket is in another folder, so that the status can be asked.
  const beside = join(sandbox.folder, 'c');
  await mkdir(beside, { mode: 0o700 });
  const socketPath = join(beside, 'control.sock');
  const env = { ...sandbox.env, BMUXD_SOCKET: socketPath };
  const bmuxd = await startBmuxd({
    sandbox: { ...sandbox, env, socketPath, streamsPath: join(beside, 'streams.sock') },
  });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'));
  const client = await live(bmuxd);
  const pid = await bmuxd.enginePid();

  const dir = join(sandbox.folder, 'd');
  await writeFile(join(sandbox.folder, 'file'), '');
  await rename(dir, join(sandbox.folder, 'gone'));
  await rename(join(sandbox.folder, 'file'), dir);
  await rm(join(sandbox.folder, 'gone'), { recursive: true });
  await waitFor('the status to say so', async () => {
    const { problems } = await bmuxd.status();
    return problems.some(
      ({ where, failure }) => where === 'runtime dir' && failure.code === 'runtime_dir_gone',
    );
  });
  await sleep(LIMITS.heartbeatMs);
  await client.ping();
  const second = await live(bmuxd);
  const third = await live(bmuxd);
  await t.rejects(third.close(), { code: 'stream_lost', message: /the runtime dir is gone/ });

  await unlink(dir);
  await waitFor('the daemon to be ready', async () => {
    const { state, engines } = await bmuxd.status();
    return state === 'ready' && engines.some((engine) => engine.pid === pid && engine.state === 'serving');
  });
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 10_000);
  for (const one of [client, second]) {
    await one.ping();
    await one.close();
  }
  const told = bmuxd
    .log()
    .split('\n')
    .filter((line) => /"level":"(warn|error)"/.test(line) && !line.includes('other users could'));
  t.match(told, [/the runtime dir is gone/], 'one line');
  t.equal(told.length, 1);
  t.equal(bmuxd.log().match(/the runtime dir is back/g)?.length, 1);
  t.equal(bmuxd.log().match(/engine starts/g)?.length, 1, 'no other engine was started');
});

t.test('a daemon whose runtime dir another daemon has taken exits, and its streams continue', async (t) => {
  const bmuxd = await startBmuxd({ config: HERE });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'));
  const client = await live(bmuxd);
  // While stopped, the first daemon cannot bind its sockets again.
  bmuxd.signal('SIGSTOP');
  await unlink(join(bmuxd.folder, 'd', 'instance.sock'));
  await unlink(bmuxd.socketPath);
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  bmuxd.signal('SIGCONT');
  await waitFor('the first daemon to exit', () => !isAlive(bmuxd.pid));
  t.match(bmuxd.log(), /another bmuxd has this folder now/);
  t.notMatch(
    next.log(),
    /taking the path back/,
    'the second daemon has not had to take the target sockets again',
  );
  t.match(await next.bmuxd(['status', '--wait', '20']), { status: 0 });
  await client.ping();
  const { streams } = (await next.http('GET', '/v1/streams')).body as StreamList;
  t.equal(streams.length, 1);
  await client.close();
});

t.test('a second daemon with another control socket is refused', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const usage = { ...bmuxd.env, BMUXD_SOCKET: join(bmuxd.folder, 'other.sock') };
  t.match(await run(process.execPath, [BMUXD, 'run'], usage), {
    status: 1,
    stderr: /^bmuxd is already running/,
  });
  t.match(await bmuxd.status(), { pid: bmuxd.pid, state: 'ready' });
});

t.test('a runtime dir with a relative or too long path is refused at the start', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const at = (dir: string) =>
    run(process.execPath, [BMUXD, 'run'], { ...sandbox.env, BMUXD_RUNTIME_DIR: dir });
  const deep = join('/tmp', 'd'.repeat(90));
  t.teardown(() => rm(deep, { recursive: true, force: true }));
  t.match(await at(deep), {
    status: 1,
    stderr: /^the socket path .*engines.* is \d+ bytes long; the system takes /,
  });
  t.match(await at('relative'), { status: 6, stderr: /^the folder relative is not an absolute path\n/ });
});
