// Tests how the real daemon starts, exits and stops, and what happens to live streams and engines.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { BMUXD, makeSandbox, startBmuxd, type Sandbox } from '../daemon/bmuxd.ts';
import { exchange, upgradeText } from '../daemon/raw-http.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { isAlive, startChild, waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';

const serverOf = (sandbox: Sandbox): Promise<EmbeddedServer> =>
  EmbeddedServer.start({ socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'), epoch: 4 });
/** Settings with which engines without streams exit soon. */
const QUICK = '[engine]\ndrain_grace = 0.1\n';

t.test(
  'SIGTERM: control exits at once, live streams go on, and the next daemon finds and ends them',
  async (t) => {
    const bmuxd = await startBmuxd({ settings: QUICK });
    t.teardown(() => bmuxd.stop());
    const server = await serverOf(bmuxd);
    t.teardown(() => server.stop());
    const { stream, info } = await bmuxd.open();
    const client = new TestClient(stream);
    const engine = await bmuxd.enginePid();
    await bmuxd.leave();
    t.match(await bmuxd.bmuxd(['status']), { status: 3, stderr: /^bmuxd is not running/ });
    await client.ping();

    const next = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => next.stop());
    const list = await next.bmuxd(['streams']);
    t.match(list.stdout, new RegExp(`^${info.id} +local +local +live .* ${String(process.pid)} `, 'm'));
    t.match((await next.status()).engines.map((row) => row.state).sort(), ['draining', 'serving']);
    t.match(await next.bmuxd(['streams', 'end', info.id]), { status: 0 });
    await t.rejects(client.ended(), { code: 'stream_lost' });
    await waitFor('the old engine to exit', () => !isAlive(engine));
  },
);

t.test('stop ends all streams and processes gracefully, also those of a former daemon', async (t) => {
  const bmuxd = await startBmuxd({ settings: QUICK });
  t.teardown(() => bmuxd.stop());
  const server = await serverOf(bmuxd);
  t.teardown(() => server.stop());
  const old = new TestClient((await bmuxd.open()).stream);
  const oldEngine = await bmuxd.enginePid();
  await bmuxd.killControl();
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  const young = new TestClient((await next.open()).stream);
  const pids = (await next.status()).engines.map((row) => row.pid);
  t.ok(pids.includes(oldEngine));
  const over = [old, young].map((client) => t.rejects(client.ended(), { code: 'stream_lost' }));
  const started = performance.now();
  t.same(await next.bmuxd(['stop']), { status: 0, stdout: 'bmuxd has stopped\n', stderr: '' });
  t.ok(performance.now() - started < 9000);
  await Promise.all(over);
  await waitFor('all processes to be gone', () => [...pids, next.pid].every((pid) => !isAlive(pid)));
  t.equal(server.connections(), 0);
  t.equal((await next.bmuxd(['stop'])).status, 3);
});

t.test(
  'a killed engine is replaced; a suspended one is shown and replaced, and `bmuxd stop` kills it',
  async (t) => {
    const bmuxd = await startBmuxd({ settings: QUICK });
    t.teardown(() => bmuxd.stop());
    const server = await serverOf(bmuxd);
    t.teardown(() => server.stop());
    const first = await bmuxd.enginePid();
    process.kill(first, 'SIGKILL');
    // At this moment there may be no engine. The request then waits for the next one.
    const { stream } = await bmuxd.open();
    stream.destroy();
    await waitFor('the next engine', async () => (await bmuxd.status()).state === 'ready');
    const second = await bmuxd.enginePid();
    t.not(second, first);

    process.kill(second, 'SIGSTOP');
    t.teardown(() => {
      if (isAlive(second)) process.kill(second, 'SIGKILL');
    });
    // For a moment the status still shows the last answer of the engine.
    await waitFor('a quick status that shows the silent engine', async () => {
      const started = performance.now();
      const { problems } = (await bmuxd.http('GET', '/v1/status')).body as Status;
      const took = performance.now() - started;
      return problems.some(({ failure }) => failure.code === 'engine_silent') && took < 200;
    });
    const shown = await bmuxd.bmuxd(['status']);
    t.match(shown, { status: 1, stdout: /not answering/ });
    await waitFor('another engine', async () =>
      (await bmuxd.status()).engines.some((row) => row.state === 'serving' && row.pid !== second),
    );
    (await bmuxd.open()).stream.destroy();
    const stop = await bmuxd.bmuxd(['stop']);
    t.equal(stop.status, 0);
    await waitFor('the suspended engine to be gone', () => !isAlive(second));
  },
);

t.test('three commands stop the daemon at the same time, with a live stream and without', async (t) => {
  for (const isLive of [true, false]) {
    const bmuxd = await startBmuxd({ settings: QUICK });
    t.teardown(() => bmuxd.stop());
    const server = await serverOf(bmuxd);
    t.teardown(() => server.stop());
    if (isLive) (await bmuxd.open()).stream.on('error', () => undefined).resume();
    const ran = await Promise.all(['stop', 'stop', 'stop'].map((command) => bmuxd.bmuxd([command])));
    for (const one of ran) t.same(one, { status: 0, stdout: 'bmuxd has stopped\n', stderr: '' });
    await waitFor('control to be gone', () => !isAlive(bmuxd.pid));
  }
});

t.test('stop works while the engine is still starting', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const child = await startChild({
    command: process.execPath,
    args: [BMUXD, 'run'],
    env: sandbox.env,
    ready: (output) => output.includes('"bmuxd is up"'),
  });
  t.teardown(() => child.stop());
  await exchange(sandbox.socketPath, 'POST /v1/stop HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  await waitFor('control to be gone', () => !isAlive(child.pid));
  t.match(child.output(), /"bmuxd exits/);
  t.notMatch(child.output(), /did not end in time/, 'nobody was waited for');
});

t.test('SIGHUP reads the settings again', async (t) => {
  const bmuxd = await startBmuxd({ settings: QUICK });
  t.teardown(() => bmuxd.stop());
  bmuxd.signal('SIGHUP');
  await waitFor('the reload', () => bmuxd.log().includes('"reloaded"'));
  t.match(await bmuxd.status(), { state: 'ready' });
});

t.test('the daemon goes on when the reader of its log is gone', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const child = spawn(process.execPath, [BMUXD, 'run', '--log-level', 'trace'], {
    env: sandbox.env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise<void>((resolve) => child.stderr.once('data', () => resolve()));
  child.stderr.destroy();
  const status = await run(process.execPath, [BMUXD, 'status', '--wait', '10'], sandbox.env);
  t.equal(status.status, 0);
  for (const _ of [1, 2]) await run(process.execPath, [BMUXD, 'reload'], sandbox.env);
  t.equal(child.exitCode, null);
  t.equal((await run(process.execPath, [BMUXD, 'stop'], sandbox.env)).status, 0);
  t.equal(await exit, 0);
});

t.test(
  'the daemon goes on when its log is never read and the pipe is full',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const child = spawn(process.execPath, [BMUXD, 'run', '--log-level', 'trace'], {
      env: sandbox.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    t.equal((await run(process.execPath, [BMUXD, 'status', '--wait', '10'], sandbox.env)).status, 0);
    // These requests make more log lines than a pipe holds.
    const asked = Array.from({ length: 1000 }, () => exchange(sandbox.streamsPath, upgradeText('{')));
    await Promise.all(asked);
    t.equal((await run(process.execPath, [BMUXD, 'status', '--wait', '60'], sandbox.env)).status, 0);
    const stopped = await run(process.execPath, [BMUXD, 'stop'], sandbox.env);
    t.equal(stopped.status, 0, stopped.stderr);
  },
);

t.test(
  'an engine that is ready has loaded its native code, because an upgrade removes the files',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const bmuxd = await startBmuxd();
    t.teardown(() => bmuxd.stop());
    const mapped = (of: number): Promise<string> => readFile(`/proc/${String(of)}/maps`, 'utf8');
    const engine = await mapped(await bmuxd.enginePid());
    for (const name of ['zstd-napi', '@number0']) {
      t.match(engine, name);
      t.notMatch(await mapped(bmuxd.pid), name, 'control has not loaded it');
    }
  },
);
