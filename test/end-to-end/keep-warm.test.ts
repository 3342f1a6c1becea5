// What the daemon keeps warm by itself: it comes back after a drop, what it fails at is shown, and an engine that was taken over keeps nothing.
import t from 'tap';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import type { Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

t.setTimeout(180_000);
// They wait much, and work little.
t.jobs = 2;
/** ms: a target with warm = true is looked after every 15 s. */
const LOOKED_AFTER_MS = 45_000;

t.test('warm = true on a TLS target', { buffered: true }, async (t) => {
  const { bmuxd, row, ask, tls } = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.far]\nwarm = true\n',
  });
  const isWarm = async (): Promise<boolean> => ((await row('far'))?.spares ?? 0) > 0;
  await waitFor('a spare before anybody asks', isWarm, LOOKED_AFTER_MS);
  t.match(await bmuxd.bmuxd(['drop', 'far']), { status: 0 });
  await waitFor('it to be let go', async () => (await row('far'))?.spares === 0);
  await waitFor('a spare after a drop', isWarm, LOOKED_AFTER_MS);
  t.equal((await ask('far')).warm, true);

  await waitFor('a spare', isWarm);
  await tls.stop();
  await waitFor('the status to say so', async () => (await row('far'))?.state === 'failing', LOOKED_AFTER_MS);
  t.match(await row('far'), { spares: 0, lastError: { code: 'tls_unreachable', class: 'remote' } });
  await waitFor('a line of the log', () => bmuxd.log().includes('cannot be kept warm just now'));
});

t.test('warm = true on an iroh target that leads elsewhere, and is gone', { buffered: true }, async (t) => {
  const { bmuxd, row, iroh, startIroh, tomlFor } = await startFarWorld(t, {
    connectTimeoutMs: 3000,
    settings: '[targets.home]\nwarm = true\n',
  });
  const live = async (host: Embedded): Promise<number> => (await host.status()).iroh?.live ?? 0;
  await waitFor('it to be warm', async () => (await row('home'))?.state === 'warm');
  const next = await startIroh();
  await bmuxd.configure('bmux.toml', tomlFor(next));
  await waitFor('the other host to be warm', async () => (await live(next)) === 1, LOOKED_AFTER_MS);
  await waitFor('the former one to be let go', async () => (await live(iroh)) === 0, LOOKED_AFTER_MS);

  // A connection with a stream on it goes at the next look for such, 30 s later.
  await waitFor('the stream that made it warm to be over', async () => {
    const { connections, server } = await next.status();
    return (server?.hellos ?? 0) > 0 && connections === 0;
  });
  await bmuxd.configure('bmux.toml', '');
  await waitFor('a host that no target leads to', async () => (await live(next)) === 0, LOOKED_AFTER_MS);
  t.equal(await row('home'), undefined);

  await bmuxd.configure('bmux.toml', tomlFor(iroh));
  await waitFor('it to be warm again', async () => (await row('home'))?.state === 'warm');
  await iroh.kill();
  await waitFor('it to fail', async () => (await row('home'))?.state === 'failing', LOOKED_AFTER_MS);
  await bmuxd.configure('bmux.toml', '');
  await waitFor(
    'the status to be without it',
    async () => (await row('home')) === undefined,
    LOOKED_AFTER_MS,
  );
});

t.test('a client that a warm server does not understand', { buffered: true }, async (t) => {
  const { bmuxd, row, ask } = await startFarWorld(t, { connectTimeoutMs: 8000 });
  await ask('home');
  await t.rejects(bmuxd.open({ target: 'home', contract: { epoch: 3 } }), { code: 'wire_epoch_mismatch' });
  t.match(await row('home'), { state: 'warm' }, 'its own mistake says nothing about the server');
});

t.test('a name that nobody knows', { buffered: true }, async (t) => {
  const { bmuxd } = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.nosuch]\nwarm = true\n',
  });
  await waitFor('a line of the log', () => /"target":"nosuch".*cannot be kept warm/.test(bmuxd.log()));
  t.equal((await bmuxd.status()).upstreams.length, 0, 'the local server is not visited for it');
  // Each is a further look at the target.
  for (let i = 0; i < 3; i++) t.match(await bmuxd.bmuxd(['reload']), { status: 0 });
  t.equal(bmuxd.log().match(/cannot be kept warm/g)?.length, 1, 'told once');
});

t.test('an engine that was taken over', { buffered: true }, async (t) => {
  const { bmuxd, row, ask, tls } = await startFarWorld(t, { connectTimeoutMs: 8000 });
  await ask('far');
  await ask('far');
  const { stream, info } = await bmuxd.open({ target: 'far' });
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
  await bmuxd.killControl();
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  await waitFor(
    'its spares to be let go',
    async () => (await tls.status()).connections === 1,
    LOOKED_AFTER_MS,
  );
  await client.ping();
  stream.end();
  await client.ended();
  await waitFor('its place', async () => (await tls.status()).connections === 0);
});
