// Tests `warm = true`: the target becomes warm again after a drop, failures are shown, and a draining engine keeps nothing warm.
import { dirname, join } from 'node:path';
import t from 'tap';
import { isEngineStatus } from '../../daemon/api/answer-shapes.ts';
import { engineRequest } from '../../daemon/sockets/http-request.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import type { Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld } from './far-world.ts';

t.setTimeout(300_000);
// These tests mostly wait, so they can run at the same time.
t.jobs = 2;
/** Time limit, ms: the daemon checks a target with warm = true every 15 s. */
const LOOKED_AFTER_MS = 45_000;

t.test(
  'a TLS target with warm = true has a spare before its first request and after a drop',
  { buffered: true },
  async (t) => {
    const { bmuxd, row, ask, tls } = await startFarWorld(t, {
      connectTimeoutMs: 8000,
      settings: '[targets.far]\nwarm = true\n',
    });
    const isWarm = async (): Promise<boolean> => ((await row('far'))?.spares ?? 0) > 0;
    await waitFor('a spare before the first request', isWarm, LOOKED_AFTER_MS);
    t.match(await bmuxd.bmuxd(['drop', 'far']), { status: 0 });
    await waitFor('the spares to be closed', async () => (await row('far'))?.spares === 0);
    await waitFor('a spare after a drop', isWarm, LOOKED_AFTER_MS);
    t.equal((await ask('far')).warm, true);

    await waitFor('a spare', isWarm);
    await tls.stop();
    await waitFor(
      'the status to show the failure',
      async () => (await row('far'))?.state === 'failing',
      LOOKED_AFTER_MS,
    );
    t.match(await row('far'), { spares: 0, lastError: { code: 'tls_unreachable', class: 'refused' } });
    await waitFor('a line in the log', () => bmuxd.log().includes('cannot be kept warm just now'));
  },
);

t.test(
  'an iroh target with warm = true gets another address, is removed, and fails',
  { buffered: true },
  async (t) => {
    const { bmuxd, row, iroh, startIroh, tomlFor } = await startFarWorld(t, {
      connectTimeoutMs: 3000,
      settings: '[targets.home]\nwarm = true\n',
    });
    const live = async (host: Embedded): Promise<number> => (await host.status()).iroh?.live ?? 0;
    await waitFor('the target to be warm', async () => (await row('home'))?.state === 'warm');
    const next = await startIroh();
    await bmuxd.configure('bmux.toml', tomlFor(next));
    await waitFor('a connection to the other host', async () => (await live(next)) === 1, LOOKED_AFTER_MS);
    await waitFor(
      'the connection to the former host to be closed',
      async () => (await live(iroh)) === 0,
      LOOKED_AFTER_MS,
    );

    // An unused connection that still has a stream is checked again only 30 s later, so the test waits for the end of the stream.
    await waitFor('the stream that made it warm to be over', async () => {
      const { connections, server } = await next.status();
      return (server?.hellos ?? 0) > 0 && connections === 0;
    });
    await bmuxd.configure('bmux.toml', '');
    await waitFor(
      'the connection to be closed when no target leads to the host',
      async () => (await live(next)) === 0,
      LOOKED_AFTER_MS,
    );
    t.equal(await row('home'), undefined);

    await bmuxd.configure('bmux.toml', tomlFor(iroh));
    await waitFor('the target to be warm again', async () => (await row('home'))?.state === 'warm');
    await iroh.kill();
    await waitFor(
      'the target to fail',
      async () => (await row('home'))?.state === 'failing',
      LOOKED_AFTER_MS,
    );
    await bmuxd.configure('bmux.toml', '');
    await waitFor(
      'its row to be removed from the status',
      async () => (await row('home')) === undefined,
      LOOKED_AFTER_MS,
    );
  },
);

t.test(
  'a client of the wrong epoch does not change the state of a warm target',
  { buffered: true },
  async (t) => {
    const { bmuxd, row, ask } = await startFarWorld(t, { connectTimeoutMs: 8000 });
    await ask('home');
    await t.rejects(bmuxd.open({ target: 'home', contract: { epoch: 3 } }), { code: 'wire_epoch_mismatch' });
    t.match(
      await row('home'),
      { state: 'warm' },
      'the error of the client does not count as one of the server',
    );
  },
);

t.test('a setting for an unknown target is logged once', { buffered: true }, async (t) => {
  const { bmuxd } = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.nosuch]\nwarm = true\n',
  });
  await waitFor('a line in the log', () => /"target":"nosuch".*cannot be kept warm/.test(bmuxd.log()));
  t.equal((await bmuxd.status()).upstreams.length, 0, 'no connection is made for it');
  // Each reload resolves the target again.
  for (let i = 0; i < 3; i++) t.match(await bmuxd.bmuxd(['reload']), { status: 0 });
  t.equal(bmuxd.log().match(/cannot be kept warm/g)?.length, 1, 'logged once');
});

t.test(
  'an engine whose control was replaced closes its spares and keeps its streams',
  { buffered: true },
  async (t) => {
    const { bmuxd, row, ask } = await startFarWorld(t, { connectTimeoutMs: 8000 });
    await ask('far');
    await ask('far');
    const { stream, info } = await bmuxd.open({ target: 'far' });
    const client = new TestClient(stream, { epoch: info.epoch });
    await client.ping();
    await waitFor('a spare', async () => ((await row('far'))?.spares ?? 0) > 0);
    await bmuxd.killControl();
    const next = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => next.stop());
    // The next engine may have spares of its own.
    const path = join(
      dirname(next.socketPath),
      'engines',
      `${info.id.slice(0, info.id.lastIndexOf('-'))}.sock`,
    );
    const held = async (): Promise<number> => {
      const { body } = await engineRequest(path, 'GET', '/v1/engine').catch(() => ({ body: undefined }));
      return isEngineStatus(body) ? body.upstreams.reduce((sum, { connections }) => sum + connections, 0) : 0;
    };
    await waitFor('its spares to be closed', async () => (await held()) === 1, LOOKED_AFTER_MS);
    await client.ping();
    stream.end();
    await client.ended();
    await waitFor('the connection of the stream to be freed', async () => (await held()) === 0);
  },
);
