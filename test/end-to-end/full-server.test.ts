// A server has so many connections for everybody: no live stream is refused because spares hold them.
import { connect } from 'node:net';
import t from 'tap';
import type { OpenStreamOptions } from '../../client-shim/index.ts';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { defaultContract } from '../../daemon/bmux-ipc/ipc.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld, type FarWorld } from './far-world.ts';

t.setTimeout(180_000);

const MAX_CONNECTIONS = 24;
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

/** Only spares hold connections: the gateway keeps those of a first contact for a while. */
async function settled({ row, tls }: FarWorld): Promise<void> {
  await waitFor('no connections but those of spares', async () => {
    const { spares = 0, connections } = (await row('far')) ?? {};
    return spares > 0 && connections === spares && (await tls.status()).connections === connections;
  });
}

t.test('many at once', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    roundTripMs: 100,
    connections: MAX_CONNECTIONS,
  });
  const { ask, row } = world;
  await ask('far');
  await settled(world);
  await ask('far');
  await waitFor('spares', async () => ((await row('far'))?.spares ?? 0) > 1);
  const count = MAX_CONNECTIONS - 2;
  const opened = await Promise.allSettled(Array.from({ length: count }, () => live(world)));
  const refused = opened.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
  t.strictSame(refused, []);
  await waitFor('all connections to be those of live streams', async () => {
    const { streams, connections } = (await row('far')) ?? {};
    return streams === count && connections === count;
  });
  for (const one of opened) if (one.status === 'fulfilled') one.value();
});

t.test('idle spares of other clients', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000, connections: MAX_CONNECTIONS });
  const { bmuxd, row } = world;
  for (let i = 0; i < 3; i += 1) (await live(world, kind(i)))();
  await settled(world);
  await waitFor('one of each', async () => ((await row('far'))?.spares ?? 0) >= 3);
  const ends = [];
  for (let i = 0; i < MAX_CONNECTIONS - 1; i += 1) ends.push(await live(world));
  // The last place, and a kind of client that the server has not seen.
  ends.push(await live(world, kind(3)));
  t.match(await row('far'), { spares: 0, streams: MAX_CONNECTIONS });
  t.notMatch(bmuxd.log(), /optimistic open failed/);
  for (const end of ends) end();
});

t.test('a server that others have filled', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.far]\nspares = 1\n',
    connections: 8,
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

t.test('streams that an engine is finishing count for the next one', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[warmth]\nmax_connections = 3\n[targets.far]\nspares = 4\n',
  });
  const ends = [await live(world), await live(world), await live(world)];
  await world.bmuxd.leave();
  const bmuxd = await startBmuxd({ sandbox: world.bmuxd });
  t.teardown(() => bmuxd.stop());
  const held = async (): Promise<{ spares: number; connections: number }> => {
    const rows = (await bmuxd.upstreams()).filter(({ target }) => target === 'far');
    const sum = (count: (row: UpstreamRow) => number): number =>
      rows.reduce((total, row) => total + count(row), 0);
    return { spares: sum(({ spares }) => spares), connections: sum(({ connections }) => connections) };
  };
  const next = { ...world, bmuxd };
  for (let turn = 0; turn < 4; turn += 1) (await live(next))();
  await waitFor('the last of them to be over', async () => (await held()).connections === 3);
  t.equal((await held()).spares, 0, 'all connections that are ours for spares are held by live streams');
  ends.pop()?.();
  await waitFor('a spare in the place of the one that ended', async () => (await held()).spares === 1);
  for (let turn = 0; turn < 4; turn += 1) (await live(next))();
  await waitFor('one spare, and no more', async () => {
    const { spares, connections } = await held();
    return spares === 1 && connections === 3;
  });
  for (const end of ends) end();
});
