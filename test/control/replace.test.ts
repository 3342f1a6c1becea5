// Tests that a daemon that leaves answers what it has taken, and that the next one is ready for what was used. Restarts under load are in test/soak/restarts.
import { connect } from 'node:net';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { isRunning } from '../../daemon/base/process/identity.ts';
import { isEngineStatus, isStatus } from '../../daemon/api/answer-shapes.ts';
import { engineRequest } from '../../daemon/sockets/http-request.ts';
import { TestClient } from '../embedded/client.ts';
import { BMUXD, makeSandbox } from '../daemon/bmuxd.ts';
import { startWorld } from '../engine/world.ts';
import { run, waitFor } from '../real/index.ts';
import { connected, madeAnew, targetSocketIs, targetSocketPath } from '../target-sockets/target-socket.ts';

t.setTimeout(300_000);

/** One request on a connection of its own, without a second try. */
async function health(path: string): Promise<string> {
  const socket = connect(path);
  socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  return textOf(socket);
}

async function textOf(socket: ReturnType<typeof connect>): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (more: string) => (text += more));
  await once(socket, 'end', { signal: AbortSignal.timeout(60_000) });
  return text;
}

t.test('a control process that leaves answers on the connections that it has accepted', async (t) => {
  const { bmuxd } = await startWorld(t);
  const socket = connect(bmuxd.socketPath);
  const answer = textOf(socket);
  await once(socket, 'connect');
  // An answer to another connection: this one has been accepted.
  await health(bmuxd.socketPath);
  bmuxd.signal('SIGTERM');
  await waitFor('the socket to be gone', async () => (await health(bmuxd.socketPath).catch(() => '')) === '');
  socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  t.match(await answer, /^HTTP\/1\.1 200 OK/);
});

t.test('the next engine has opened a stream to a server that was used', async (t) => {
  const { bmuxd } = await startWorld(t);
  const path = targetSocketPath(bmuxd, 'tls');
  await targetSocketIs(true, path);
  const client = new TestClient(await connected(path));
  await client.hello();
  await client.close();
  const dir = join(dirname(bmuxd.socketPath), 'engines');
  const engines = (): string[] => readdirSync(dir).filter((name) => name.endsWith('.sock'));
  const former = engines();
  bmuxd.signal('SIGKILL');
  await waitFor('the daemon to be gone', () => !isRunning({ pid: bmuxd.pid }));
  await madeAnew([path], async () => t.match(await bmuxd.bmuxd(['start']), { status: 0 }));
  await waitFor('a stream that nobody has asked for', async () => {
    const [next] = engines().filter((name) => !former.includes(name));
    if (next === undefined) return false;
    const { body } = await engineRequest(join(dir, next), 'GET', '/v1/engine');
    const rows = isEngineStatus(body) ? body.upstreams : [];
    return rows.some(({ target, lastStreamMs }) => target === 'tls' && lastStreamMs !== undefined);
  });
});

t.test('a client in the queue of a dead engine is served when control leaves', async (t) => {
  const { bmuxd } = await startWorld(t);
  const path = targetSocketPath(bmuxd, 'tls');
  await targetSocketIs(true, path);
  const { body } = await bmuxd.http('GET', '/v1/status');
  const [engine] = isStatus(body) ? body.engines : [];
  const pid = engine?.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  await waitFor('the engine to be gone', () => !isRunning({ pid }));
  const client = new TestClient(await connected(path));
  const answered = client.hello();
  bmuxd.signal('SIGTERM');
  await answered;
  await client.close();
  await waitFor('the daemon to be gone', () => !isRunning({ pid: bmuxd.pid }));
});

t.test(
  'with a config that cannot be read, the daemon and its engine go on as long as they can',
  async (t) => {
    const { bmuxd } = await startWorld(t);
    const path = targetSocketPath(bmuxd, 'tls');
    await targetSocketIs(true, path);
    const answers = async (): Promise<void> => {
      const client = new TestClient(await connected(path));
      await client.hello();
      await client.close();
    };
    const file = join(bmuxd.env['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml');
    const good = readFileSync(file, 'utf8');
    await bmuxd.configure('bmux.toml', `${good}\n[connections.targets.`);
    await waitFor('the mistake to be seen', async () => (await bmuxd.status()).problems.length > 0);

    const refused = await bmuxd.bmuxd(['restart']);
    t.match(refused, { status: 1, stdout: '', stderr: /bmux\.toml:\d+: not TOML[^]*Mend it, then restart/ });
    t.equal((await bmuxd.status()).pid, bmuxd.pid, 'a restart would lose the last good config');
    const { stream } = await bmuxd.open({ target: 'tls' });
    stream.destroy();

    await bmuxd.killControl();
    t.match(await bmuxd.bmuxd(['start']), { status: 1, stdout: /bmuxd has started: degraded/ });
    t.match((await bmuxd.bmuxd(['status'])).stdout, /bmux\.toml/, 'the mistake is told');
    const failed: unknown = await bmuxd.open({ target: 'tls' }).catch((error: unknown) => error);
    t.match(failed, { data: { code: 'config_unloadable', causes: [/bmux\.toml:\d+: not TOML/] } });
    // An engine that is told to drain accepts for 500 ms more.
    for (const end = performance.now() + 2000; performance.now() < end; await sleep(200)) await answers();
    t.equal((await bmuxd.engines()).length, 2, 'the engine of before has the target sockets');
    await madeAnew([path], () => bmuxd.configure('bmux.toml', good));
    await answers();
    await waitFor('the engine of before to leave', async () => (await bmuxd.engines()).length === 1);
    await answers();
  },
);

t.test('a daemon that cannot take over leaves no engine behind', async (t) => {
  const sandbox = await makeSandbox({ settings: '[engine]\ndrain_grace = 600\n' });
  t.teardown(() => sandbox.remove());
  const dir = dirname(sandbox.socketPath);
  mkdirSync(join(sandbox.socketPath, 'in the way'), { recursive: true, mode: 0o700 });
  const { status, stderr } = await run(process.execPath, [BMUXD, 'run', '--replace'], sandbox.env);
  t.equal(status, 1, stderr);
  t.match(stderr, '[control_socket_unbindable]');
  const left = readdirSync(join(dir, 'engines')).filter((name) => name.endsWith('.sock'));
  t.same(left, [], 'its socket would tell clients of a daemon that comes back');
});
