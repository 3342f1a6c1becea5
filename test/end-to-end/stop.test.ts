// Tests `bmuxd stop` while the daemon makes spares. A stream without a proper end costs the server behind a TLS gateway a connection.
import t, { type Test } from 'tap';
import { waitFor } from '../real/index.ts';
import { startFarWorld, type FarWorld } from './far-world.ts';

t.setTimeout(300_000);

/** Stops the daemon while its server answers nothing. */
async function stopLosesNothing(t: Test, { bmuxd, tls }: FarWorld): Promise<void> {
  await bmuxd.stop();
  await tls.command({ do: 'release' });
  await waitFor('all connections to be freed, or one to be lost', async () => {
    const { connections, tls: gateway } = await tls.status();
    return connections === 0 || gateway?.truncated !== 0;
  });
  t.equal((await tls.status()).tls?.truncated, 0, 'each stream ended with close_notify');
  const said = bmuxd.log();
  const after = said.slice(said.indexOf('"bmuxd stops and ends all streams"'));
  t.match(after, /"engine is gone"[^]*"bmuxd exits"/);
  t.notMatch(after, /"level":"(?:warn|error)"|streams continue/, 'a proper stop is no reason for a warning');
}

t.test('stop while spares are being made loses no connection', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000, roundTripMs: 300 });
  const { bmuxd, tls, row } = world;
  const { stream } = await bmuxd.open({ target: 'far' });
  stream.on('error', () => undefined).resume();
  stream.end();
  await tls.command({ do: 'hold' });
  await waitFor('a spare without its Hello', async () => {
    const { spares, connections = 0, streams } = (await row('far')) ?? {};
    return spares === 0 && streams === 0 && connections > 1;
  });
  await stopLosesNothing(t, world);
});

t.test('stop while a target is being warmed loses no connection', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.far]\nwarm = true\n',
    held: true,
  });
  await waitFor('a stream without its Hello', async () => ((await world.row('far'))?.connections ?? 0) > 0);
  await stopLosesNothing(t, world);
});
