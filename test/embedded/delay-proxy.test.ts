// The delay proxy delays by the right time, keeps order and half-close, and drops data in black-hole mode.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { waitFor } from '../real/index.ts';
import { startDelayProxy, type DelayProxy, type DelayProxyOptions } from './delay-proxy.ts';
import { pattern } from './traffic.ts';

/** An echo server that ends only after its client. */
async function start(t: Test, options: Omit<DelayProxyOptions, 'to'>): Promise<DelayProxy> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { address: host, port } = server.address() as AddressInfo;
  const proxy = await startDelayProxy({ to: { host, port }, ...options });
  t.teardown(() => proxy.stop());
  return proxy;
}

function dial(t: Test, proxy: DelayProxy): Socket {
  const socket = connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  return socket;
}

async function exchange(socket: Socket): Promise<number> {
  const begun = performance.now();
  socket.write('?');
  await once(socket, 'data');
  return performance.now() - begun;
}

t.test('a round trip takes what it says, the first one more if the handshake is charged', async (t) => {
  const proxy = await start(t, { roundTripMs: 60 });
  const socket = dial(t, proxy);
  await once(socket, 'connect');
  const first = await exchange(socket);
  t.ok(first >= 60 && first < 10_000, `${first} ms`);
  proxy.setRoundTrip(0);
  const charged = await start(t, { roundTripMs: 60, handshake: true });
  const begun = performance.now();
  const other = dial(t, charged);
  await once(other, 'connect');
  await exchange(other);
  t.ok(performance.now() - begun >= 115, 'connect and question');
  t.ok((await exchange(other)) < 10_000);
});

t.test('bytes are exact and the end comes last, both ways', async (t) => {
  const proxy = await start(t, { roundTripMs: 10 });
  const socket = dial(t, proxy);
  const sent = pattern(0, 20_000_001);
  const parts: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => parts.push(chunk));
  socket.end(sent);
  await once(socket, 'end');
  t.ok(Buffer.concat(parts).equals(sent));
  await waitFor('no connection to be left', () => proxy.connections() === 0);
});

t.test('a black hole swallows, ends too, and a cut is a broken connection', async (t) => {
  const proxy = await start(t, { roundTripMs: 0 });
  const socket = dial(t, proxy);
  let heard = '';
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  await exchange(socket);
  proxy.blackhole();
  socket.write('lost');
  await waitFor('the bytes to be swallowed', () => proxy.swallowed() === 4);
  proxy.restore();
  await exchange(socket);
  t.equal(heard, '??');
  proxy.cut();
  await once(socket, 'end').catch(() => undefined);
  await waitFor('no connection to be left', () => proxy.connections() === 0);
});
