// Tests what signals do to control, to an engine and to the clients: none opens a debugger, and none ends the daemon without a word.
import { once } from 'node:events';
import { constants } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { isAlive, waitFor } from '../real/child.ts';

const MEANINGLESS = [
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGVTALRM',
  'SIGPROF',
  'SIGIO',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGXFSZ',
  'SIGPIPE',
] as const;

/** The folder of the programs under test, as a debugger names it. */
const BUILT = new URL('../..', import.meta.url).href;

/** What the debugger of Node says of the processes that it is open for. It listens on this port unless another one is named. */
async function debuggers(): Promise<string> {
  return fetch('http://127.0.0.1:9229/json/list').then(
    (answer) => answer.text(),
    () => '',
  );
}

t.test('signals', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const client = new TestClient((await bmuxd.open()).stream);
  const engine = await bmuxd.enginePid();
  const shim = bmuxd.spawnShim([]);
  const ended = once(shim, 'close');
  await waitFor('the stream', async () => (await bmuxd.status()).streams === 2);

  for (const pid of [bmuxd.pid, engine]) {
    for (const signal of MEANINGLESS) if (signal in constants.signals) process.kill(pid, signal);
    if (pid === engine) for (const signal of ['SIGINT', 'SIGHUP'] as const) process.kill(pid, signal);
    await client.ping();
    t.match(await bmuxd.status(), { pid: bmuxd.pid, engines: [{ pid: engine, state: 'serving' }] });
    t.notMatch(await debuggers(), BUILT, 'no debugger');
  }
  shim.kill('SIGUSR1');
  await client.ping();
  t.notMatch(await debuggers(), BUILT, 'no debugger in a client');
  bmuxd.signal('SIGHUP');
  await waitFor('the reload', () => bmuxd.log().includes('"reloaded"'));

  bmuxd.signal('SIGQUIT');
  await waitFor('the end of control', () => !isAlive(bmuxd.pid));
  await client.ping();
  t.pass('live streams go on');
  process.kill(engine, 'SIGQUIT');
  await t.rejects(
    client.ended(),
    { code: 'stream_lost', message: /ended by/ },
    'the engine ends its streams',
  );
  t.same(await ended, [8, null], 'and the shim says so');
  client.stream.destroy();
  await waitFor('the end of the engine', () => !isAlive(engine));
});
