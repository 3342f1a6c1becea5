// The iroh transport against a real gateway and an endpoint of the test: streams, ends, limits.
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import type * as Iroh from '@number0/iroh/index.js';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { endGracefully } from '../../../daemon/transport/end.ts';
import { bindRaw, type RawConnection, type RawReceive } from '../../../daemon/transport/iroh/binding.ts';
import { IrohStream } from '../../../daemon/transport/iroh/stream.ts';
import { IrohEndpoint, STREAMS_MAX } from '../../../daemon/transport/iroh/endpoint.ts';
import { ByteArrays } from '../../../daemon/transport/iroh/binding.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import { realRelay, startRelay, waitFor } from '../../real/index.ts';
import { failureOf, readAll, readBytes, within } from '../dialling.ts';

/** A peer on loopback that speaks the gateway protocol; `serve` gets each stream of its connections. */
async function peer(
  t: Test,
  serve: (stream: IrohStream, receive: RawReceive) => void,
  relays: 'disabled' | string[] = 'disabled',
) {
  const endpoint = await bindRaw(relays, { accept: true, bindAddr: '127.0.0.1:0' });
  const connections: RawConnection[] = [];
  const arrays = new ByteArrays();
  const onStreams = async (connection: RawConnection): Promise<void> => {
    for (;;) {
      const raw = await connection.acceptBi();
      serve(new IrohStream({ send: raw.send, receive: raw.recv, arrays, endMs: 200 }), raw.recv);
    }
  };
  const onConnections = async (): Promise<void> => {
    for (;;) {
      const incoming = await endpoint.acceptNext();
      if (incoming === null) return;
      const connection = await (await incoming.accept()).connect();
      connections.push(connection);
      onStreams(connection).catch(() => undefined);
    }
  };
  onConnections().catch(() => undefined);
  t.teardown(() => endpoint.close());
  const ipAddr = endpoint.boundSockets().find((address) => address.startsWith('127.')) ?? '';
  return {
    endpoint,
    connections,
    route: { transport: 'iroh', endpointId: endpoint.id().toString(), ipAddr, sshAuth: false } as const,
  };
}

/** Our endpoint, bound without relays. */
async function client(t: Test): Promise<IrohEndpoint> {
  const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
  t.teardown(() => endpoint.close(500));
  return endpoint;
}

const echo = (stream: IrohStream): void => {
  stream.pipe(stream);
};

t.test('bytes, half-close and many streams on one connection', async (t) => {
  const { route } = await peer(t, echo);
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.ok(connection.isAlive());
  const one = async (size: number): Promise<void> => {
    const stream = await connection.openStream(within(5000));
    const sent = randomBytes(size);
    stream.end(sent);
    const got = await readAll(stream);
    t.ok(got.equals(sent), `${String(size)} bytes came back whole, after our end`);
    await endGracefully(stream);
  };
  await Promise.all([1, 16_383, 16_384, 16_385, 300_000, 1_000_000].map(one));
  t.type(connection.rttMs(), 'number');
  t.ok((connection.counters()?.receivedDatagrams ?? 0) > 0);
  await waitFor('every stream to be released', () => connection.streams === 0);
  await connection.close();
  t.notOk(connection.isAlive());
  t.type(await connection.closed, 'string');
  t.equal((await failureOf(connection.openStream(within(1000)))).code, 'iroh_stream_failed');
});

t.test('a reader that stalls holds the writer back, and nothing is lost', async (t) => {
  const held: IrohStream[] = [];
  const { route } = await peer(t, (stream) => held.push(stream));
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.teardown(() => connection.close(200));
  const stream = await connection.openStream(within(5000));
  const sent = randomBytes(8 << 20);
  let accepted = 0;
  const pump = async (): Promise<void> => {
    for (let at = 0; at < sent.length; at += 65_536) {
      const more = stream.write(sent.subarray(at, at + 65_536));
      accepted = at + 65_536;
      if (!more) await new Promise((resolve) => stream.once('drain', resolve));
    }
    stream.end();
  };
  const pumped = pump();
  await waitFor('the stream to reach the peer', () => held.length === 1);
  let last = -1;
  await waitFor('the writer to stand still', async () => {
    const before = last;
    last = accepted;
    await new Promise((resolve) => setTimeout(resolve, 150));
    return accepted === before && accepted === last;
  });
  t.ok(accepted < sent.length, `${String(accepted)} bytes were taken while nobody read`);
  const [far] = held;
  if (far === undefined) throw new Error('no stream');
  const got = await readAll(far);
  await pumped;
  t.ok(got.equals(sent));
  far.end();
});

t.test('a host that answers and reads no more while we still send: all of the answer is read', async (t) => {
  const { route } = await peer(t, (stream, receive) => {
    // A host that drops its receiving side does the same.
    stream.end(Buffer.alloc(30_000, 1), () => void receive.stop(0n));
  });
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.teardown(() => connection.close(200));
  const stream = await connection.openStream(within(5000));
  for (let count = 0; count < 20; count += 1) {
    await new Promise((resolve) => stream.write('more', resolve));
    await pause(10);
  }
  t.equal((await readAll(stream)).length, 30_000);
  await waitFor('the stream to be closed', () => stream.closed);
  t.equal(stream.errored, null);
});

t.test('destroying a stream still finishes it', async (t) => {
  const ends: Promise<Buffer>[] = [];
  const { route } = await peer(t, (stream) => {
    ends.push(readAll(stream));
    stream.once('end', () => stream.end('late answer'));
  });
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.teardown(() => connection.close(200));
  const stream = await connection.openStream(within(5000));
  await new Promise((resolve) => stream.write('final bytes', resolve));
  stream.destroy();
  await waitFor('the peer to see the stream', () => ends.length === 1);
  t.equal((await ends[0])?.toString(), 'final bytes', 'a finish, not a reset');
  await waitFor('the stream to be released', () => connection.streams === 0);
});

t.test('a peer that never ends is dropped after the bound', async (t) => {
  const { route, connections } = await peer(t, (stream) => stream.resume().write('x'));
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.teardown(() => connection.close(200));
  const stream = await connection.openStream(within(5000));
  stream.write('x');
  await readBytes(stream, 1);
  const start = performance.now();
  await endGracefully(stream, 150);
  t.ok(performance.now() - start < 4500);
  await connection.close(150);
  await waitFor('the peer to see the close', () => connections[0]?.closeReason() !== null);
});

t.test('a connection that does not report its end counts as closed after a time', async (t) => {
  const { route } = await peer(t, echo);
  const { Connection } = createRequire(import.meta.url)('@number0/iroh/index.js') as typeof Iroh;
  const closed = Object.getOwnPropertyDescriptor(Connection.prototype, 'closed') ?? {};
  t.teardown(() => {
    Object.defineProperty(Connection.prototype, 'closed', closed);
  });
  Connection.prototype.closed = () => new Promise(() => undefined);
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  const timers = holdTimers(t);
  let isOver = false;
  const closing = connection.close(0).then(() => (isOver = true));
  await timers.pass(0);
  await timers.pass(LIMITS.irohConnectionCloseMs - 1);
  t.equal(isOver, false);
  await timers.pass(1);
  await closing;
});

t.test('the limit of streams is a refusal, never a wait', async (t) => {
  const { route } = await peer(t, echo);
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  t.teardown(() => connection.close(500));
  const all = await Promise.all(
    Array.from({ length: STREAMS_MAX }, () => connection.openStream(within(5000))),
  );
  t.equal(connection.streams, STREAMS_MAX);
  t.notOk(connection.hasRoom());
  t.equal((await failureOf(connection.openStream(within(1000)))).code, 'iroh_stream_failed');
  all[0]?.destroy();
  await waitFor('room for one more', () => connection.hasRoom());
  const stream = await connection.openStream(within(5000));
  stream.end('again');
  t.equal((await readAll(stream)).toString(), 'again');
});

t.test(
  'streams that have ended leave their room later than at once: that is a refusal, too, and never a wait',
  async (t) => {
    const { route } = await peer(t, echo);
    const connection = await (await client(t)).connect(route, 'prod', within(10_000));
    t.teardown(() => connection.close(500));
    // The number of ended streams that the peer may hold back.
    for (let ended = 0; ended < 12; ended += 1) {
      const stream = await connection.openStream(within(5000));
      stream.end('once');
      await readAll(stream);
    }
    await waitFor('them to be over', () => connection.streams === 0);
    const all = await Promise.all(
      Array.from({ length: STREAMS_MAX }, () => connection.openStream(within(5000))),
    );
    t.equal(all.length, STREAMS_MAX);
  },
);

t.test('a lost peer ends the streams and says so', async (t) => {
  const { route, connections } = await peer(t, echo);
  const connection = await (await client(t)).connect(route, 'prod', within(10_000));
  const stream = await connection.openStream(within(5000));
  stream.write('x');
  await readBytes(stream, 1);
  const closed = new Promise((resolve) => stream.once('close', resolve));
  stream.resume();
  connections[0]?.close(0n, []);
  t.match(await connection.closed, /^\S.*$/, 'one line');
  await closed;
  t.notOk(connection.isAlive());
  await connection.close();
});

t.test('what cannot be dialled is said in the words of bmux', async (t) => {
  const endpoint = await client(t);
  const route = (await peer(t, echo)).route;
  const code = async (change: object, ms = 5000) =>
    (await failureOf(endpoint.connect({ ...route, ...change }, 'prod', within(ms)))).message;
  t.equal(await code({ endpointId: 'zz' }), "invalid iroh endpoint id 'zz'");
  t.equal(await code({ relayUrl: 'nope' }), "invalid iroh relay url 'nope'");
  t.equal(await code({ ipAddr: '127.0.0.1:9' }, 400), "iroh target 'prod' connect timed out");
  const reason = new Error('the client has gone');
  await t.rejects(endpoint.connect(route, 'prod', within(5000, AbortSignal.abort(reason))), reason);
  t.match(await failureOf(IrohEndpoint.bind({ relays: ['nope'] })), { code: 'iroh_relay_invalid' });
  await endpoint.close();
  t.notOk(endpoint.isOpen());
  await t.rejects(endpoint.connect(route, 'prod', within(5000)), { code: 'iroh_unreachable' });
});

t.test(
  'through a real relay',
  { skip: realRelay() === undefined && 'real iroh-relay not found' },
  async (t) => {
    const relay = await startRelay();
    t.teardown(() => relay.stop());
    const far = await peer(t, echo, [relay.url]);
    await far.endpoint.online();
    const endpoint = await IrohEndpoint.bind({ relays: [relay.url] });
    t.teardown(() => endpoint.close(500));
    const { endpointId } = far.route;
    const route = { transport: 'iroh', endpointId, relayUrl: relay.url, sshAuth: false } as const;
    const connection = await endpoint.connect(route, 'prod', within(10_000));
    const stream = await connection.openStream(within(5000));
    stream.end('over the relay');
    t.equal((await readAll(stream)).toString(), 'over the relay');
  },
);
