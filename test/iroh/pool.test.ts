// Warm iroh connections to an embedded gateway: shared dials, the room of a connection, losses, silent peers, and unused connections.
import t from 'tap';
import { defaultSettings } from '../../daemon/config/settings/table.ts';
import { NetworkWatch } from '../../daemon/engine/network-watch.ts';
import { Transports } from '../../daemon/engine/upstream/transports.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import type { Embedded } from '../embedded/launch.ts';
import { NO_ENGINE } from '../hello/cold.ts';
import { halt, waitFor } from '../real/index.ts';
import { failureOf } from '../transport/dialling.ts';
import { connectionsOf, greet, nothingHeld, poolFor, routeTo, serve, wait } from './rig.ts';

/** Numbers of live and of all connections of the iroh gateway. */
const gateway = async (of: Embedded): Promise<{ live: number; connections: number }> =>
  (await of.status()).iroh ?? { live: 0, connections: 0 };

t.test('requests at the same time share one dial, and later ones need none', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  t.equal(pool.isWarm(routeTo(server)), false);
  const first = await Promise.all(Array.from({ length: 10 }, () => pool.stream(routeTo(server), wait())));
  t.ok(first.every(({ warm }) => !warm));
  const later = await pool.stream(routeTo(server), wait());
  t.equal(later.warm, true);
  t.equal(pool.isWarm(routeTo(server)), true);
  for (const one of [...first, later]) {
    await greet(one);
    await endGracefully(one.stream);
  }
  t.equal(await connectionsOf(server), 1);
  await nothingHeld(server);
});

t.test('more connections are made when there are more streams than one has room for', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  const opened = await Promise.all(Array.from({ length: 200 }, () => pool.stream(routeTo(server), wait())));
  await Promise.all(opened.map(greet));
  t.equal(await connectionsOf(server), 3, '84 each');
  await Promise.all(opened.map(({ stream }) => endGracefully(stream)));
  await nothingHeld(server);
});

t.test('a connection that was lost is replaced within the request', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  const { stream } = await pool.stream(routeTo(server), wait());
  const lost = new Promise((resolve) => stream.once('close', resolve));
  await greet({ stream });
  for (let round = 0; round < 5; round += 1) {
    await server.command({ do: 'drop-iroh-connections' });
    const one = await pool.stream(routeTo(server), wait());
    // The stream may have been opened before the loss was noticed. Then the next one works.
    const client = await greet(one).catch(async () => greet(await pool.stream(routeTo(server), wait())));
    await client.ping();
  }
  await lost;
});

t.test(
  'a host that does not answer: requests fail at their deadline, and succeed when it answers again',
  async (t) => {
    const server = await serve(t);
    const pool = poolFor(t);
    await greet(await pool.stream(routeTo(server), wait()));
    await halt(server.pid);
    t.teardown(() => process.kill(server.pid, 'SIGCONT'));
    const since = performance.now();
    const attempts = await Promise.allSettled(
      [0, 1].map(async () => pool.stream(routeTo(server), wait(1500))),
    );
    t.ok(performance.now() - since < 6500, 'no request waits beyond its budget');
    for (const one of attempts) {
      if (one.status === 'rejected') t.match(one.reason, { code: 'iroh_connect_timeout' });
      else t.equal(one.value.stream.destroyed, false);
    }
    const later = pool.stream(routeTo(server), wait(8000));
    setTimeout(() => process.kill(server.pid, 'SIGCONT'), 500);
    const client = await greet(await later);
    await client.ping();
  },
);

t.test('an aborted request does not abort the dial that others wait for', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  await halt(server.pid);
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  const abort = new AbortController();
  const aborted = failureLike(pool.stream(routeTo(server), wait(8000, abort.signal)));
  const short = failureOf(pool.stream(routeTo(server), wait(300)));
  const patient = pool.stream(routeTo(server), wait(8000));
  abort.abort(new Error('enough'));
  t.match(await aborted, /enough/, 'at once');
  t.equal((await short).code, 'iroh_connect_timeout', 'each request has a separate budget');
  process.kill(server.pid, 'SIGCONT');
  await greet(await patient);
  t.equal(await connectionsOf(server), 1, 'one dial');
});

t.test('an unused connection is closed after idleMs, one with a stream is not', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t, { idleMs: 200, reapMs: 50 });
  const opened = await pool.stream(routeTo(server), wait());
  const client = await greet(opened);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await client.ping();
  t.equal(pool.size, 1);
  await endGracefully(opened.stream);
  await waitFor(
    'the connection to be closed',
    async () => pool.size === 0 && (await server.status()).iroh?.live === 0,
  );
  await nothingHeld(server);
});

t.test('the connection of a target that is not kept warm is closed after its last stream', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t, { reapMs: 50, warmth: () => false });
  const opened = await pool.stream(routeTo(server), wait());
  const client = await greet(opened);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await client.ping();
  await endGracefully(opened.stream);
  await waitFor(
    'the connection to be closed',
    async () => pool.size === 0 && (await server.status()).iroh?.live === 0,
  );
  await nothingHeld(server);
});

t.test('a loss is one event, even when several requests notice it', async (t) => {
  const server = await serve(t);
  const told: string[] = [];
  const pool = poolFor(t, { event: ({ type }) => told.push(type) });
  await greet(await pool.stream(routeTo(server), wait()));
  await halt(server.pid);
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  // A packet that the host sent before would count as an answer.
  await new Promise((resolve) => setTimeout(resolve, 500));
  pool.markStale();
  await Promise.all(Array.from({ length: 5 }, () => failureOf(pool.stream(routeTo(server), wait(4000)))));
  t.same(told, ['connection made', 'connection lost']);
});

t.test('after a sleep a connection is checked before its next use', async (t) => {
  const server = await serve(t);
  let sleptMs = 0;
  let changes = 0;
  const network = new NetworkWatch({
    now: () => Date.now() + sleptMs,
    onChange: () => {
      changes += 1;
      transports.markStale();
    },
  });
  const all = { ...defaultSettings(), 'iroh.relays': 'disabled' } as const;
  const transports = new Transports({
    settings: () => all,
    env: {},
    event: () => undefined,
    ssh: NO_ENGINE,
    network: () => network,
  });
  const host = transports.irohHost({});
  t.teardown(() => {
    network.close();
    return transports.close();
  });
  const open = (ms?: number) => transports.open(routeTo(server), wait(ms), () => host);
  await greet(await open());
  sleptMs += 60_000;
  t.equal((await open()).warm, true, 'the host answers');
  t.equal(changes, 1);
  await halt(server.pid);
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  // A packet that the host sent before would count as an answer.
  await new Promise((resolve) => setTimeout(resolve, 500));
  sleptMs += 60_000;
  t.equal((await failureOf(open(1500))).code, 'iroh_connect_timeout');
});

t.test(
  'a dial that is under way at drop or retire: its connection is only for requests that wait already',
  async (t) => {
    for (const end of ['drop', 'retire'] as const) {
      const server = await serve(t);
      const pool = poolFor(t, { reapMs: 50 });
      const stop = (): void => {
        if (end === 'drop') pool.drop(routeTo(server));
        else pool.retire();
      };
      await halt(server.pid);
      t.teardown(() => process.kill(server.pid, 'SIGCONT'));

      t.equal((await failureOf(pool.stream(routeTo(server), wait(300)))).code, 'iroh_connect_timeout');
      t.equal(pool.isDialling(routeTo(server)), true, 'it goes on without a caller');
      stop();
      process.kill(server.pid, 'SIGCONT');
      await waitFor('the end of the dial', () => !pool.isDialling(routeTo(server)));
      t.equal(pool.size, 0, `${end}: a connection without a waiting request is not kept`);

      await halt(server.pid);
      const awaited = pool.stream(routeTo(server), wait());
      await waitFor('its dial', () => pool.isDialling(routeTo(server)));
      stop();
      process.kill(server.pid, 'SIGCONT');
      const opened = await awaited;
      await (await greet(opened)).ping();
      t.equal(
        pool.isWarm(routeTo(server)),
        false,
        `${end}: the waiting request gets a stream, and later ones do not`,
      );
      await endGracefully(opened.stream);
      await waitFor(
        'the connection to be closed',
        async () => pool.size === 0 && (await server.status()).iroh?.live === 0,
      );
    }
  },
);

t.test(
  'when a target moves to another host, that is dialled, and the former connection is closed after its streams',
  async (t) => {
    const [former, next] = [await serve(t), await serve(t)];
    const pool = poolFor(t, { reapMs: 50, warmth: () => true });
    const opened = await pool.stream(routeTo(former), wait());
    const client = await greet(opened);
    pool.moved(routeTo(former), routeTo(next), { label: 'host' });
    await waitFor('the other host to be warm', () => pool.isWarm(routeTo(next)));
    t.equal(pool.isWarm(routeTo(former)), false);
    await client.ping();
    await endGracefully(opened.stream);
    await waitFor(
      'the connection to the former host to be closed',
      async () => (await gateway(former)).live === 0,
    );
    t.equal((await gateway(next)).live, 1);
  },
);

t.test('after a change of the relays connections are made again', async (t) => {
  const host = await serve(t);
  let relays: 'disabled' | readonly string[] = 'disabled';
  const pool = poolFor(t, { reapMs: 50, relays: () => relays });
  const opened = await pool.stream(routeTo(host), wait());
  const client = await greet(opened);
  relays = ['http://127.0.0.1:9'];
  const later = await pool.stream(routeTo(host), wait());
  t.equal(later.warm, false, 'no new stream on a connection over the former relays');
  await greet(later);
  await client.ping();
  await endGracefully(opened.stream);
  await waitFor('the former connection to be closed', async () => (await gateway(host)).live === 1);
  const last = await pool.stream(routeTo(host), wait());
  t.equal(last.warm, true);
  await greet(last);

  await Promise.all([later, last].map(({ stream }) => endGracefully(stream)));
  relays = 'disabled';
  await waitFor('the reconnect', async () => (await gateway(host)).connections === 3);
  await waitFor(
    'the connection over the former relays to be closed',
    async () => (await gateway(host)).live === 1,
  );
});

t.test('a relay that cannot be reached is named', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  const { ipAddr: _, ...route } = routeTo(server);
  const failure = await failureOf(pool.stream({ ...route, relayUrl: 'http://127.0.0.1:9' }, wait(2000)));
  t.match(failure.data, {
    code: 'iroh_relay_unreachable',
    class: 'relay',
    detail: "iroh target 'host' connect timed out",
    causes: [/ECONNREFUSED/],
  });
});

t.test('close ends every stream gracefully', async (t) => {
  const server = await serve(t);
  const pool = poolFor(t);
  for (let i = 0; i < 5; i += 1) await greet(await pool.stream(routeTo(server), wait()));
  t.equal((await server.status()).connections, 5);
  await pool.close();
  await nothingHeld(server);
  await t.rejects(pool.stream(routeTo(server), wait(1000)));
  await waitFor('the connection to be closed', async () => (await server.status()).iroh?.live === 0);
});

async function failureLike(work: Promise<unknown>): Promise<string> {
  return work.then(() => 'it succeeded', String);
}
