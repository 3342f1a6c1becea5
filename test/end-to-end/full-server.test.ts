// Tests that no stream is refused because spares hold the connections of the server's limit.
import { connect } from 'node:net';
import t from 'tap';
import type { OpenStreamOptions } from '../../client-shim/index.ts';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { defaultContract } from '../../daemon/bmux-ipc/ipc.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { startFarWorld, type FarWorld } from './far-world.ts';

t.setTimeout(300_000);

const MAX_CONNECTIONS = 24;
const OPTIONAL = defaultContract(4).capabilities.filter((one) => !/^core|control_catalog/.test(one));

/** A client with a contract that no other client has. A spare is for clients with the same contract only. */
function kind(index: number): OpenStreamOptions {
  const { revisions, capabilities } = defaultContract(4);
  const without = OPTIONAL[index];
  return {
    target: 'far',
    contract: { epoch: 4, revisions, capabilities: capabilities.filter((one) => one !== without) },
  };
}

/** Opens a stream and waits for the answer to a request that must not be repeated. Returns a function that ends it. */
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

/** Waits until only spares hold connections. The gateway keeps the connections of protocol detection for a while. */
async function onlySparesHold({ row, tls }: FarWorld): Promise<void> {
  await waitFor('no connections but those of spares', async () => {
    const { spares = 0, connections } = (await row('far')) ?? {};
    return spares > 0 && connections === spares && (await tls.status()).connections === connections;
  });
}

t.test('many streams at the same time get all connections', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    roundTripMs: 100,
    connections: MAX_CONNECTIONS,
  });
  const { ask, row } = world;
  await ask('far');
  await onlySparesHold(world);
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

t.test('idle spares of other kinds of client are closed when connections are needed', async (t) => {
  const world = await startFarWorld(t, { connectTimeoutMs: 8000, connections: MAX_CONNECTIONS });
  const { bmuxd, row } = world;
  for (let i = 0; i < 3; i += 1) (await live(world, kind(i)))();
  await onlySparesHold(world);
  await waitFor('a spare for each kind of client', async () => ((await row('far'))?.spares ?? 0) >= 3);
  const ends = [];
  for (let i = 0; i < MAX_CONNECTIONS - 1; i += 1) ends.push(await live(world));
  // The last connection, for a kind of client that is new to the server.
  ends.push(await live(world, kind(3)));
  t.match(await row('far'), { spares: 0, streams: MAX_CONNECTIONS });
  t.notMatch(bmuxd.log(), /optimistic open failed/);
  for (const end of ends) end();
});

t.test('other clients hold all connections of the server but that of a spare', async (t) => {
  const world = await startFarWorld(t, {
    connectTimeoutMs: 8000,
    settings: '[targets.far]\nspares = 1\n',
    connections: 8,
  });
  await world.ask('far');
  await onlySparesHold(world);
  for (let i = 0; i < 7; i += 1) {
    const socket = connect(world.tls.socketPath);
    t.teardown(() => socket.destroy());
    await new TestClient(socket).hello();
  }
  await t.rejects(live(world, kind(0)), { code: 'connection_lost' });
  // The failed request made the broker close the spare of the other kind of client.
  (await live(world, kind(0)))();
});

t.test('live streams of a draining engine count in the limit of the next engine', async (t) => {
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
  await waitFor('the streams of the next engine to be over', async () => (await held()).connections === 3);
  t.equal((await held()).spares, 0, 'live streams hold all connections that max_connections allows');
  ends.pop()?.();
  await waitFor('a spare instead of the stream that ended', async () => (await held()).spares === 1);
  for (let turn = 0; turn < 4; turn += 1) (await live(next))();
  await waitFor('one spare and no other', async () => {
    const { spares, connections } = await held();
    return spares === 1 && connections === 3;
  });
  for (const end of ends) end();
});
