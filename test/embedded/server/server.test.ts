// Rules of a real server that no captured conversation shows (connections, time limits, unread bytes), and options for tests only.
import { once } from 'node:events';
import t from 'tap';
import { defaultContract, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { waitFor } from '../../real/index.ts';
import { TestClient } from '../client.ts';
import { open, start } from './start-server.ts';

t.test('one server for both generations keeps to that of the first frame', async (t) => {
  const server = await start(t, { epoch: 'both' });
  for (const epoch of [3, 4] as const) {
    const client = new TestClient(open(t, server.socketPath), { epoch });
    t.equal((await client.hello()).wireEpoch, epoch);
    t.equal((await client.serverStatus()).running, true);
    const other = encodeRequestFrame(epoch === 3 ? 4 : 3, 9n, { type: 'ping' });
    client.stream.write(other);
    t.equal((await client.ended()).length, 0);
  }
});

t.test('bytes that the server left unread reset the client', async (t) => {
  const server = await start(t, { epoch: 4 });
  const hello = encodeRequestFrame(3, 1n, {
    type: 'hello',
    contract: defaultContract(3),
    clientName: 'old',
    principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
  });
  const socket = open(t, server.socketPath);
  socket.write(Buffer.concat([hello, encodeRequestFrame(3, 2n, { type: 'ping' })]));
  const error = await once(socket, 'end').catch((error: unknown) => error);
  t.match(error, { code: 'ECONNRESET' });
});

t.test('a client without a Hello is ended, and one that is late with half a frame too', async (t) => {
  const server = await start(t, { epoch: 4, handshakeTimeoutMs: 1000 });
  const silent = new TestClient(open(t, server.socketPath));
  const slow = new TestClient(open(t, server.socketPath));
  slow.stream.write(Buffer.from('b300000004', 'hex'));
  t.equal((await silent.ended()).length, 0);
  t.equal((await slow.ended()).length, 0);
  await waitFor('both connections to be free', () => server.connections() === 0);
});

t.test('the 65th connection is dropped, and a place that becomes free is given out again', async (t) => {
  const server = await start(t, { epoch: 4 });
  const clients = await Promise.all(
    Array.from({ length: 64 }, async () => {
      const client = new TestClient(open(t, server.socketPath));
      await client.hello();
      return client;
    }),
  );
  const late = new TestClient(open(t, server.socketPath));
  await t.rejects(late.hello());
  t.equal(server.stats().refused, 1);
  t.equal(server.connections(), 64);
  await clients[0]?.close();
  await waitFor('the place to be free', () => server.connections() === 63);
  await new TestClient(open(t, server.socketPath)).hello();
});

t.test('a client that does not read is closed, unless the server is a v3 one', async (t) => {
  for (const epoch of [3, 4] as const) {
    const server = await start(t, { epoch, ...(epoch === 4 ? { writeLimitMs: 100 } : {}) });
    const socket = open(t, server.socketPath);
    const client = new TestClient(socket, { epoch });
    await client.hello();
    await client.raw({ type: 'source', bytes: 32 * 1024 * 1024 });
    socket.pause();
    if (epoch === 4) {
      await waitFor('the server to close it', () => server.stats().stalled === 1);
      await waitFor('its place to be free', () => server.connections() === 0);
    } else {
      t.equal((await client.ended()).length, 32 * 1024 * 1024);
      t.equal(server.stats().stalled, 0);
    }
  }
});

t.test('echo, source and sink are exact, and keep half-close', async (t) => {
  const server = await start(t, { epoch: 'both' });
  const greet = async (epoch: Epoch): Promise<TestClient> => {
    const client = new TestClient(open(t, server.socketPath), { epoch });
    await client.hello();
    return client;
  };
  const size = 5_000_001;
  const body = Buffer.alloc(1_000_003, 'bmux');
  t.ok((await (await greet(3)).echo(body)).equals(body));
  await (await greet(4)).source(size);
  t.strictSame(await (await greet(4)).sink(size), { count: size, badAt: null });
  const raw = await greet(3);
  await raw.raw({ type: 'echo' });
  raw.stream.end(body);
  t.ok((await raw.ended()).equals(body), 'everything came back after our end');
  const wrong = await greet(4);
  await wrong.raw({ type: 'sink' });
  wrong.stream.end(body);
  t.match(JSON.parse((await wrong.ended()).toString()), { count: body.length, badAt: 0 });
});

t.test('hold, other capabilities, drop, stop', async (t) => {
  const server = await start(t, { epoch: 4 });
  const client = new TestClient(open(t, server.socketPath), { clientName: 'probe' });
  server.hold();
  const hello = client.send(client.helloRequest());
  await t.rejects(
    new TestClient(open(t, server.socketPath), { limitMs: 50 }).hello(),
    /no frame within 50 ms/,
  );
  server.setCapabilities([...defaultContract(4).capabilities.slice(0, 4), 'of.tomorrow']);
  server.release();
  t.match(await client.response(hello), {
    type: 'hello_negotiated',
    negotiated: { capabilities: { length: 4 } },
  });
  await waitFor('both Hellos', () => server.stats().hellos === 2);
  t.match(server.stats(), { hellos: 2, lastHello: { epoch: 4 }, requests: { hello: 2 } });
  server.dropAll();
  await client.ended();
  const other = new TestClient(open(t, server.socketPath));
  await other.hello();
  t.strictSame(await other.request({ type: 'server_stop' }), { type: 'server_stopping' });
  await other.ended();
  await server.stop();
  const refused = await once(open(t, server.socketPath), 'connect').catch((error: unknown) => error);
  t.match(refused, { code: /ENOENT|ECONNREFUSED/ });
});
