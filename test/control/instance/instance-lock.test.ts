// One daemon per bmuxd dir, whatever happens to its sockets: what vanishes is bound again, and nobody takes what another daemon has.
import { chown, mkdir, rm, stat, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { BMUXD, makeSandbox, startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { connected, targetSocketIs, targetSocketPath } from '../../target-sockets/target-socket.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { isAlive, waitFor } from '../../real/index.ts';
import { run } from '../../real/server.ts';
import type { StreamList } from '../../../daemon/api/answers.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';

const HERE = '[connections.targets.one]\ntransport = "local"\n';

async function live(bmuxd: Bmuxd): Promise<TestClient> {
  const { stream, info } = await bmuxd.open({ target: 'local' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  return client;
}

t.test('what somebody removes is bound again', async (t) => {
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
    'the dir has its daemon all the same',
  );
  await waitFor('the control socket', () =>
    stat(socketPath).then(
      () => true,
      () => false,
    ),
  );
  t.match(await bmuxd.bmuxd(['status', '--wait', '20']), { status: 0 });
  await (await live(bmuxd)).close();

  // For longer than two looks at the engine are apart: whenever it is told to bind, its folder has just gone.
  const until = performance.now() + LIMITS.heartbeatMs + 500;
  while (performance.now() < until) {
    await rm(join(folder, 'd'), { recursive: true, force: true, maxRetries: 5, retryDelay: 5 });
    await sleep(5);
  }
  await waitFor('everything to be there again', async () => {
    const { status } = await bmuxd.bmuxd(['status']);
    return status === 0 && (await bmuxd.status()).engines.length === 1;
  });
  const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
  t.equal(streams.length, 1, 'the live stream is listed by the engine that has it');
  t.equal(bmuxd.log().match(/engine starts/g)?.length, 1, 'and no other one was needed');
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 10_000);
  const through = new TestClient(await connected(targetSocketPath(bmuxd, 'one')));
  await through.hello();
  await through.close();
  await client.ping();
  await client.close();
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
});

t.test('a daemon that finds its dir taken leaves it, and its streams live on', async (t) => {
  const bmuxd = await startBmuxd({ config: HERE });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'));
  const client = await live(bmuxd);
  // Stopped, so that it cannot look after its sockets.
  bmuxd.signal('SIGSTOP');
  await unlink(join(bmuxd.folder, 'd', 'instance.sock'));
  await unlink(bmuxd.socketPath);
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  bmuxd.signal('SIGCONT');
  await waitFor('the first one to leave', () => !isAlive(bmuxd.pid));
  t.match(bmuxd.log(), /another bmuxd has this folder now/);
  t.notMatch(next.log(), /taking the path back/, 'nobody took target sockets back and forth');
  t.match(await next.bmuxd(['status', '--wait', '20']), { status: 0 });
  await client.ping();
  const { streams } = (await next.http('GET', '/v1/streams')).body as StreamList;
  t.equal(streams.length, 1);
  await client.close();
});

t.test('another control socket, or one that is passed, makes no second daemon of a dir', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const usage = { ...bmuxd.env, BMUXD_SOCKET: join(bmuxd.folder, 'other.sock') };
  t.match(await run(process.execPath, [BMUXD, 'run'], usage), {
    status: 1,
    stderr: /^bmuxd is already running/,
  });
  t.match(await bmuxd.status(), { pid: bmuxd.pid, state: 'ready' });
});

t.test('a dir whose sockets no system can take is refused at the start', async (t) => {
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

t.test(
  'commands trust no folder of somebody else',
  { skip: process.getuid?.() !== 0 && 'only root can make one' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const dir = join(sandbox.folder, 'd');
    await mkdir(dir, { mode: 0o755 });
    let heard = 0;
    const planted = createServer((socket) => {
      heard += 1;
      socket.end();
    });
    await new Promise<void>((resolve) => planted.listen(sandbox.socketPath, resolve));
    t.teardown(() => planted.close());
    await chown(dir, 65_534, 65_534);
    for (const args of [
      ['status'],
      ['targets'],
      ['drop', 'x'],
      ['reload'],
      ['events'],
      ['stop'],
      ['env', 'x'],
    ])
      t.match(
        await run(process.execPath, [BMUXD, ...args], sandbox.env),
        { status: args[0] === 'status' ? 1 : 6, stderr: /belongs to user 65534, not to you/ },
        args.join(' '),
      );
    t.equal(heard, 0, 'nothing was said to it');
  },
);
