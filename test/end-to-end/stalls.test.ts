// Tests processes that do not run for a while, servers that answer late, and paths that are removed meanwhile. SIGSTOP simulates a suspended
// machine or a blocked event loop.
// No request is answered twice, no answer is lost, and in the end one engine serves.
import { rm, unlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { connected, targetSocketIs, targetSocketPath } from '../target-sockets/target-socket.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { isAlive, waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

const ONE = '[connections.targets.one]\ntransport = "local"\n';
const TWO = `${ONE}[connections.targets.two]\ntransport = "local"\n`;

async function startHere(t: Test): Promise<Bmuxd> {
  const bmuxd = await startBmuxd({ config: ONE });
  t.teardown(() => bmuxd.stop());
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 10_000);
  return bmuxd;
}

async function startServer(t: Test, bmuxd: Bmuxd, name = 'server.sock'): Promise<string> {
  const socketPath = join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', name);
  const server = await EmbeddedServer.start({ socketPath, epoch: 4 });
  t.teardown(() => server.stop());
  return socketPath;
}

const ready = (bmuxd: Bmuxd): number => bmuxd.log().match(/engine is ready/g)?.length ?? 0;

t.test('control is stopped while its engine answers a client', async (t) => {
  const bmuxd = await startHere(t);
  const socketPath = await startServer(t, bmuxd, 'real.sock');
  let goOn: (() => void) | undefined;
  // The server's first answer is delayed until control is stopped.
  const slow = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ path: socketPath, allowHalfOpen: true });
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far);
    far.once('data', (answer: Buffer) => {
      goOn = () => {
        near.write(answer);
        far.pipe(near);
      };
    });
  });
  slow.listen(join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'));
  t.teardown(() => {
    slow.close();
  });
  const opening = bmuxd.open({ target: 'one' });
  await waitFor('the Hello to be answered', () => goOn !== undefined);
  bmuxd.signal('SIGSTOP');
  goOn?.();
  const { stream, info } = await opening;
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  await sleep(9500);
  bmuxd.signal('SIGCONT');
  await waitFor('control to answer again', async () => (await bmuxd.status()).state === 'ready');
  await client.ping();
  await client.close();
});

t.test('an engine is stopped while a server answers', async (t) => {
  const { bmuxd, row, ask } = await startFarWorld(t, { connectTimeoutMs: 8000 });
  await ask('far');
  await waitFor('spares', async () => ((await row('far'))?.spares ?? 0) > 0);
  const pid = await bmuxd.enginePid();
  // The server's answers are on their way when the engine stops.
  const { stream, info } = await bmuxd.open({ target: 'far' });
  t.equal(info.warm, true);
  const client = new TestClient(stream, { epoch: info.epoch });
  const echoed = client.echo(Buffer.from('x'));
  process.kill(pid, 'SIGSTOP');
  await sleep(2 * LIMITS.hedgeMs);
  process.kill(pid, 'SIGCONT');
  await echoed;
  await client.close();
  t.notMatch(bmuxd.log(), /optimistic open failed/);
});

t.test(
  'a server that answers a Hello late loses no stream whose request may not be sent again',
  async (t) => {
    const { bmuxd, tls, iroh, ask } = await startFarWorld(t, {
      connectTimeoutMs: 60_000,
      // Longer than the server is held: after this limit it would close the connection.
      handshakeTimeoutMs: 60_000,
      settings: 'warmth.max_connections = 0\n',
    });
    await Promise.all(
      Object.entries({ far: tls, home: iroh }).map(async ([target, server]) => {
        await ask(target);
        await server.command({ do: 'hold' });
        const { stream, info } = await bmuxd.open({ target });
        const client = new TestClient(stream, { epoch: info.epoch, limitMs: 60_000 });
        const echoed = client.echo(Buffer.from('once'));
        await sleep(3 * LIMITS.hedgeMs);
        await server.command({ do: 'release' });
        t.equal((await echoed).toString(), 'once', target);
        await client.close();
      }),
    );
    t.notMatch(bmuxd.log(), /optimistic open failed/);
  },
);

t.test('the status does not wait for an engine that is late for a moment', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  t.teardown(() => {
    process.kill(pid, 'SIGCONT');
  });
  // Since the last status control has checked its engine. On a busy machine this check may be late, so the test tries again.
  await waitFor('a status with the last answer of the engine', async () => {
    process.kill(pid, 'SIGCONT');
    await sleep(2 * LIMITS.heartbeatMs);
    process.kill(pid, 'SIGSTOP');
    const { state, engines } = (await bmuxd.http('GET', '/v1/status')).body as Status;
    return state === 'ready' && engines[0]?.pid === pid;
  });
  await waitFor('the status to show that the engine is silent', async () => {
    const status = (await bmuxd.http('GET', '/v1/status')).body as Status;
    return status.problems.some(({ failure }) => failure.code === 'engine_silent');
  });
});

t.test('a retired engine drains when it runs again', async (t) => {
  const bmuxd = await startHere(t);
  await startServer(t, bmuxd);
  const pid = await bmuxd.enginePid();
  const [socket = ''] = await bmuxd.engines();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  // Without its socket the engine cannot be told to drain.
  await unlink(join(bmuxd.folder, 'd', 'engines', socket));
  await waitFor('another engine', () => ready(bmuxd) === 2);
  process.kill(pid, 'SIGCONT');
  await waitFor('the first engine to exit', () => !isAlive(pid));
  const through = new TestClient(await connected(targetSocketPath(bmuxd, 'one')));
  await through.hello();
  await through.close();
});

t.test('a target that is added while the engine hangs for a moment gets its socket', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  await bmuxd.configure('bmux.toml', TWO);
  await sleep(LIMITS.engineAnswerMs + 1000);
  process.kill(pid, 'SIGCONT');
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'), 15_000);
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 15_000);
});

t.test('an engine makes its socket again when the folder of the engines is removed', async (t) => {
  const bmuxd = await startHere(t);
  await startServer(t, bmuxd);
  const { stream, info } = await bmuxd.open({ target: 'local' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  await rm(join(bmuxd.folder, 'd', 'engines'), { recursive: true, maxRetries: 5, retryDelay: 5 });
  await waitFor('the socket of the engine', async () => (await bmuxd.engines()).length === 1);
  const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as { streams: readonly unknown[] };
  t.equal(streams.length, 1);
  t.equal(ready(bmuxd), 1, 'no other engine was started');
  await client.ping();
  await client.close();
});

t.test('reload fails with the reason while no engine can start', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  const engines = join(bmuxd.folder, 'd', 'engines');
  // Control makes the folder again at once, so the test may have to try more than once.
  await waitFor('a file instead of the folder', async () => {
    await rm(engines, { recursive: true, force: true, maxRetries: 5, retryDelay: 5 });
    return writeFile(engines, '', { flag: 'wx' }).then(
      () => true,
      () => false,
    );
  });
  process.kill(pid, 'SIGKILL');
  await bmuxd.configure('bmux.toml', TWO);
  t.match(await bmuxd.bmuxd(['reload']), { status: 1, stderr: /engine/ });
  await rm(engines);
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'), 40_000);
});

t.test('stop ends an engine whose socket has just been removed', async (t) => {
  const bmuxd = await startHere(t);
  const [socket = ''] = await bmuxd.engines();
  await unlink(join(bmuxd.folder, 'd', 'engines', socket));
  t.equal((await bmuxd.http('POST', '/v1/stop')).status, 202);
  await waitFor('the engine to exit', () => bmuxd.log().includes('engine leaves'));
  t.notMatch(bmuxd.log(), /were killed/);
});

t.test('stop waits for an engine that does not run for a moment', async (t) => {
  const bmuxd = await startHere(t);
  await startServer(t, bmuxd);
  const { stream, info } = await bmuxd.open({ target: 'local' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGCONT');
  });
  t.equal((await bmuxd.http('POST', '/v1/stop')).status, 202);
  await sleep(LIMITS.engineAnswerMs + 300);
  process.kill(pid, 'SIGCONT');
  stream.end();
  // The end of the client and the stop arrive at the same time.
  await client.ended().catch((error: unknown) => t.match(error, { code: 'stream_lost' }));
  await waitFor('control to exit', () => !isAlive(bmuxd.pid));
  t.match(bmuxd.log(), /"reason":"(stopped|finished)".*"stream over"/);
  t.match(bmuxd.log(), /engine leaves/);
  t.notMatch(bmuxd.log(), /are not waited for/);
});
