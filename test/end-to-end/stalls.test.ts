// Processes that do not run for a while (SIGSTOP stands for a suspended machine or a blocked loop), and paths that vanish meanwhile: nobody is answered
// twice, nothing that was answered is lost, and one engine serves in the end.
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

t.test('control that was stopped while its engine answered a client', async (t) => {
  const bmuxd = await startHere(t);
  const socketPath = await startServer(t, bmuxd, 'real.sock');
  let goOn: (() => void) | undefined;
  // Its first answer comes late: the hand-off is not settled when control stops.
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
  await sleep(8000 + LIMITS.engineGraceMs);
  bmuxd.signal('SIGCONT');
  await waitFor('control to be back', async () => (await bmuxd.status()).state === 'ready');
  await client.ping();
  await client.close();
});

t.test('an engine that was stopped while a server answered', async (t) => {
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

t.test('a status that finds the engine late for a moment', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  t.teardown(() => {
    process.kill(pid, 'SIGCONT');
  });
  // The last status is long ago; control has looked at its engine meanwhile. On a busy machine that look may be late, too.
  await waitFor('a status that does not wait for it', async () => {
    process.kill(pid, 'SIGCONT');
    await sleep(2 * LIMITS.heartbeatMs);
    process.kill(pid, 'SIGSTOP');
    const { state, engines } = (await bmuxd.http('GET', '/v1/status')).body as Status;
    return state === 'ready' && engines[0]?.pid === pid;
  });
  // One that stays silent is told of.
  await waitFor('the status to say so', async () => {
    const status = (await bmuxd.http('GET', '/v1/status')).body as Status;
    return status.problems.some(({ failure }) => failure.code === 'engine_silent');
  });
});

t.test('an engine that was given up drains when it runs again', async (t) => {
  const bmuxd = await startHere(t);
  await startServer(t, bmuxd);
  const pid = await bmuxd.enginePid();
  const [socket = ''] = await bmuxd.engines();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  // It cannot be told over its socket.
  await unlink(join(bmuxd.folder, 'd', 'engines', socket));
  await waitFor('another engine', () => ready(bmuxd) === 2, 40_000);
  process.kill(pid, 'SIGCONT');
  await waitFor('the first one to leave', () => !isAlive(pid), 30_000);
  const through = new TestClient(await connected(targetSocketPath(bmuxd, 'one')));
  await through.hello();
  await through.close();
});

t.test('a target that is new while the engine hangs for a moment', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  await bmuxd.configure('bmux.toml', TWO);
  await sleep(LIMITS.engineAnswerMs + 1000);
  process.kill(pid, 'SIGCONT');
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'), 15_000);
  await targetSocketIs(true, targetSocketPath(bmuxd, 'one'), 15_000);
});

t.test('the folder of the engines vanishes alone', async (t) => {
  const bmuxd = await startHere(t);
  await startServer(t, bmuxd);
  const { stream, info } = await bmuxd.open({ target: 'local' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  await rm(join(bmuxd.folder, 'd', 'engines'), { recursive: true });
  await waitFor('the engine to be back at its path', async () => (await bmuxd.engines()).length === 1);
  const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as { streams: readonly unknown[] };
  t.equal(streams.length, 1);
  t.equal(ready(bmuxd), 1, 'no other engine was needed');
  await client.ping();
  await client.close();
});

t.test('reload while no engine can start', async (t) => {
  const bmuxd = await startHere(t);
  const pid = await bmuxd.enginePid();
  const engines = join(bmuxd.folder, 'd', 'engines');
  // Control makes the folder again when it is gone for a moment.
  await waitFor('a file in its place', async () => {
    await rm(engines, { recursive: true, force: true });
    return writeFile(engines, '', { flag: 'wx' }).then(
      () => true,
      () => false,
    );
  });
  process.kill(pid, 'SIGKILL');
  await bmuxd.configure('bmux.toml', TWO);
  // It says what is wrong, and does not wait for it to pass.
  t.match(await bmuxd.bmuxd(['reload']), { status: 1, stderr: /engine/ });
  await rm(engines);
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'), 40_000);
});

t.test('stop finds an engine whose socket has just vanished', async (t) => {
  const bmuxd = await startHere(t);
  const [socket = ''] = await bmuxd.engines();
  await unlink(join(bmuxd.folder, 'd', 'engines', socket));
  t.equal((await bmuxd.http('POST', '/v1/stop')).status, 202);
  await waitFor('the engine to leave', () => bmuxd.log().includes('engine leaves'));
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
  await client.ended();
  await waitFor('control to leave', () => !isAlive(bmuxd.pid));
  t.match(bmuxd.log(), /"reason":"(stopped|finished)".*"stream over"/);
  t.match(bmuxd.log(), /engine leaves/);
  t.notMatch(bmuxd.log(), /are not waited for/);
});
