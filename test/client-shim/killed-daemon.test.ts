// Tests that clients wait for a daemon whose processes were all killed.
import { once } from 'node:events';
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openStream } from '../../client-shim/index.ts';
import type { Waiting } from '../../daemon/api/answers.ts';
import { isListening } from '../../daemon/sockets/bind.ts';
import { makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/child.ts';

t.test('control and engine are killed: no request fails, and the next daemon serves them', async (t) => {
  const first = await startBmuxd({ config: '[general]\nserver_timeout = 30000\n' });
  t.teardown(() => first.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(first.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const open = async (): Promise<void> => {
    const { stream } = await openStream({ env: first.env, timeoutMs: 60_000 });
    await new TestClient(stream).ping();
    stream.destroy();
  };
  const engine = await first.enginePid();
  const [name = ''] = await first.engines();
  const accepts = (): Promise<boolean> => isListening(join(first.folder, 'd', 'engines', name), 5000);
  // It must start no other engine.
  first.signal('SIGSTOP');
  process.kill(engine, 'SIGKILL');
  await waitFor('the engine to be gone', async () => !(await accepts()));
  // It waits in the queue of a socket that the kernel resets with control's end.
  const queued = open();
  await first.killControl();
  const told: Waiting[] = [];
  const later = openStream({ env: first.env, timeoutMs: 60_000, onWaiting: (waiting) => told.push(waiting) });
  const shim = first.spawnShim([]);
  const closed = once(shim, 'close');
  let said = '';
  shim.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text));
  await waitFor('news for who waits', () => told.length > 0);
  t.equal(told[0]?.step, 'restart of bmuxd');
  const second = await startBmuxd({ sandbox: first });
  t.teardown(() => second.stop());
  await queued;
  (await later).stream.destroy();
  shim.stdin?.end();
  t.strictSame(await closed, [0, null], said);
});

t.test('the file of a daemon that was killed long ago, or that was stopped, is not waited for', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const folder = join(sandbox.folder, 'd');
  await mkdir(folder, { mode: 0o700 });
  const path = join(folder, 'instance.json');
  const left = async (ageMs: number, more: object = {}): Promise<void> => {
    await writeFile(path, JSON.stringify({ pid: 1, sockets: [sandbox.socketPath], ...more }));
    const at = new Date(Date.now() - ageMs);
    await utimes(path, at, at);
  };
  await left(60_000);
  await t.rejects(openStream({ env: sandbox.env }), { code: 'daemon_not_running' });
  // The clock was set back since.
  await left(-3_600_000);
  const onWaiting = (): void => {
    t.fail('it waits');
  };
  await t.rejects(openStream({ env: sandbox.env, onWaiting }), { code: 'daemon_not_running' });
  await left(0, { stopping: true });
  await t.rejects(openStream({ env: sandbox.env }), { code: 'daemon_not_running' });
  await left(0);
  const gone = new AbortController();
  const asked = openStream({
    env: sandbox.env,
    signal: gone.signal,
    onWaiting: () => gone.abort(new Error('it waits')),
  });
  await t.rejects(asked, /it waits/);
});
