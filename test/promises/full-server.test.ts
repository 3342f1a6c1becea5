// A server has so many places for everybody: no live stream is refused because spares hold them.
import { connect } from 'node:net';
import t from 'tap';
import type { OpenStreamOptions } from '../../client-shim/index.ts';
import { defaultContract } from '../../daemon/wire/ipc.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld, type FarWorld } from './far-world.ts';

t.setTimeout(180_000);

const PLACES = 24;
const OPTIONAL = defaultContract(4).capabilities.filter((one) => !/^core|control_catalog/.test(one));

/** A client whose contract is another one than that of all others: spares are for one contract. */
function kind(index: number): OpenStreamOptions {
  const { revisions, capabilities } = defaultContract(4);
  const without = OPTIONAL[index];
  return {
    target: 'far',
    contract: { epoch: 4, revisions, capabilities: capabilities.filter((one) => one !== without) },
  };
}

/** A live stream that has had an answer to what is never asked twice. */
async function live(
  { bmuxd }: FarWorld,
  options: OpenStreamOptions = { target: 'far' },
): Promise<() => void> {
  const { stream, info } = await bmuxd.open(options);
  stream.on('error', () => undefined);
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.echo(Buffer.from('x'));
  return () => stream.end();
}

/** Only spares hold places: the gateway keeps those of a first contact for a while. */
async function settled({ row, tls }: FarWorld): Promise<void> {
  await waitFor('no places but those of spares', async () => {
    const { spares = 0, places } = (await row('far')) ?? {};
    return spares > 0 && places === spares && (await tls.status()).connections === places;
  });
}

t.test('many at once', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000, roundTripMs: 100, places: PLACES });
  const { ask, row } = world;
  await ask('far');
  await settled(world);
  await ask('far');
  await waitFor('spares', async () => ((await row('far'))?.spares ?? 0) > 1);
  const count = PLACES - 2;
  const opened = await Promise.allSettled(Array.from({ length: count }, () => live(world)));
  const refused = opened.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
  t.strictSame(refused, []);
  await waitFor('all places to be those of live streams', async () => {
    const { streams, places } = (await row('far')) ?? {};
    return streams === count && places === count;
  });
  for (const one of opened) if (one.status === 'fulfilled') one.value();
});

t.test('idle spares of other clients', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000, places: PLACES });
  const { bmuxd, row } = world;
  for (let i = 0; i < 3; i += 1) (await live(world, kind(i)))();
  await settled(world);
  await waitFor('one of each', async () => ((await row('far'))?.spares ?? 0) >= 3);
  const ends = [];
  for (let i = 0; i < PLACES - 1; i += 1) ends.push(await live(world));
  // The last place, and a kind of client that the server has not seen.
  ends.push(await live(world, kind(3)));
  t.match(await row('far'), { spares: 0, streams: PLACES });
  t.notMatch(bmuxd.log(), /promise broken/);
  for (const end of ends) end();
});

t.test('a server that others have filled', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.far]\nspares = 1\n',
    places: 8,
  });
  await world.ask('far');
  await settled(world);
  for (let i = 0; i < 7; i += 1) {
    const socket = connect(world.tls.socketPath);
    t.teardown(() => socket.destroy());
    await new TestClient(socket).hello();
  }
  await t.rejects(live(world, kind(0)), { code: 'connection_lost' });
  // The spare of the other kind has gone for it.
  (await live(world, kind(0)))();
});
