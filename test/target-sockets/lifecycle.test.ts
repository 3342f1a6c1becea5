// Tests target sockets while control or the engine is replaced: no client is refused, and no client is lost without need.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/index.ts';
import { connected, targetSocketIs, targetSocketPath } from './target-socket.ts';
import { startLoad } from './load.ts';

t.setTimeout(300_000);

/** Clients at the same time: so many that some are always between connect and answer. */
const WORKERS = 12;

/** Starts a daemon with one target, `here`, and its server. */
async function start(t: Test): Promise<{ bmuxd: Bmuxd; server: EmbeddedServer; path: string }> {
  const bmuxd = await startBmuxd({
    config: '[connections.targets.here]\ntransport = "local"\n',
    settings: '[engine]\ndrain_grace = 0.1\n',
  });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const path = targetSocketPath(bmuxd, 'here');
  await targetSocketIs(true, path);
  return { bmuxd, server, path };
}

t.test('control is killed and replaced while clients connect', async (t) => {
  const { bmuxd, path, server } = await start(t);
  const load = startLoad(path, WORKERS);
  t.teardown(() => load.stop());
  let current = bmuxd;
  for (const _ of [1, 2]) {
    await load.more(50);
    await current.killControl();
    await load.more(50);
    current = await startBmuxd({ sandbox: bmuxd });
    const taken = current;
    t.teardown(() => taken.stop());
    await load.more(100);
  }
  await waitFor('the older engines to exit', async () => (await current.engines()).length === 1);
  await load.more(20);
  await load.stop();
  t.same(load.failures, [], `none of ${String(load.done)} clients is refused or lost`);
  await waitFor('all connections to be free', () => server.connections() === 0);
  t.equal((await current.status()).streams, 0);

  const stopped = await current.bmuxd(['stop']);
  t.equal(stopped.status, 0);
  t.same(await readdir(join(bmuxd.folder, 'd', 'targets')), ['here'], 'only the link is left');
  await t.rejects(stat(path), { code: 'ENOENT' });
});

t.test('the engine is killed while clients connect', async (t) => {
  const { bmuxd, path } = await start(t);
  const load = startLoad(path, WORKERS);
  t.teardown(() => load.stop());
  for (const round of [1, 2]) {
    await load.more(50);
    const before = load.failures.length;
    process.kill(await bmuxd.enginePid(), 'SIGKILL');
    await load.more(50);
    const lost = load.failures.slice(before);
    t.ok(
      lost.length <= WORKERS,
      `round ${String(round)}: only clients under way are lost (${String(lost.length)})`,
    );
    t.same(
      lost.filter((text) => /ECONNREFUSED|ENOENT/.test(text)),
      [],
      'no client is refused',
    );
  }
  await load.stop();
});

t.test('control exits on SIGTERM: its engine accepts clients until the next one takes over', async (t) => {
  const { bmuxd, path } = await start(t);
  const live = new TestClient(await connected(path));
  await live.hello();
  const load = startLoad(path, 4);
  t.teardown(() => load.stop());
  await load.more(20);
  await bmuxd.leave();
  await load.more(20);
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  await load.more(20);
  await load.stop();
  t.same(load.failures, []);
  await live.ping();
  await live.close();
});
