// Tests requests for streams on the real daemon: every byte arrives, reading is limited, clients may close, and processes may be killed or suspended.
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import type { Waiting } from '../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { pattern } from '../embedded/traffic.ts';
import { isAlive, waitFor } from '../real/child.ts';
import { Incoming, rawModeFrame, requestHead } from './requests.ts';
import { upgradesLoseNothing } from './upgrades.ts';

/** `timeoutMs`: time limit for a request for a stream. */
async function start(
  t: Test,
  timeoutMs: number,
): Promise<{ readonly bmuxd: Bmuxd; readonly server: Embedded }> {
  const bmuxd = await startBmuxd({ config: `[general]\nserver_timeout = ${timeoutMs}\n` });
  const socketPath = join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock');
  const server = await launchEmbedded({ socketPath, server: { epoch: 4, handshakeTimeoutMs: 60_000 } });
  t.teardown(async () => {
    await bmuxd.stop();
    await server.stop();
  });
  return { bmuxd, server };
}

const nothingHeld = (server: Embedded): Promise<void> =>
  waitFor('the connections to be freed', async () => (await server.status()).connections === 0);

const shared = await start(t, 30_000);

t.test('1,000 upgrades lose no byte', async (t) => {
  const { bmuxd, server } = shared;
  await upgradesLoseNothing(bmuxd, 1000);
  await nothingHeld(server);
  t.pass();
});

t.test('clients that send, end or close while the server is dialled', async (t) => {
  const { bmuxd, server } = shared;
  await server.command({ do: 'hold' });
  const clients = Array.from({ length: 8 }, () => new Incoming(bmuxd.streamsPath));
  for (const { socket } of clients) socket.write(requestHead(bmuxd));
  await waitFor(
    'the engine to have all requests',
    async () => (await bmuxd.status()).streams === clients.length,
  );
  const size = 200_000;
  for (const [index, { socket }] of clients.entries()) {
    socket.write(rawModeFrame({ type: 'echo' }));
    socket.write(pattern(0, size));
    if (index % 2 === 0) socket.end();
  }
  // Two of them are destroyed before there is an answer. One of the two has ended its side before.
  clients[0]?.socket.destroy();
  clients[1]?.socket.destroy();
  await server.command({ do: 'release' });
  for (const [index, client] of clients.entries()) {
    if (index < 2) continue;
    t.equal((await client.answer()).status, 101);
    await client.frame();
    t.ok((await client.bytes(size)).equals(pattern(0, size)));
    client.socket.end();
    t.equal((await client.toEnd()).length, 0);
  }
  await nothingHeld(server);
  await waitFor('no stream to be left', async () => (await bmuxd.status()).streams === 0);
});

t.test('a client that sends much data is not read before its stream is open', async (t) => {
  const { bmuxd, server } = shared;
  // The suspended engine does not accept, so the connection waits in the kernel's queue.
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => process.kill(pid, 'SIGCONT'));
  const client = new Incoming(bmuxd.streamsPath);
  const { socket } = client;
  const size = 16 * 1024 * 1024;
  socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 100_000)]));
  socket.write(pattern(100_000, size - 100_000));
  const health = await bmuxd.http('GET', '/v1/health');
  t.equal(health.status, 200, 'control still answers');
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.ok(
    socket.writableLength > size - 2_000_000,
    `${size - socket.writableLength} bytes were taken from the client`,
  );
  process.kill(pid, 'SIGCONT');
  t.equal((await client.answer()).status, 101);
  await client.frame();
  t.ok((await client.bytes(size)).equals(pattern(0, size)), 'all data arrives');
  socket.end();
  await nothingHeld(server);
});

/** Sends data on a stream to the embedded server, which sends it back, and then ends the stream. */
async function echoes(t: Test, stream: Duplex, size: number): Promise<void> {
  const client = new Incoming(stream);
  stream.write(Buffer.concat([rawModeFrame({ type: 'echo' }), pattern(0, size)]));
  await client.frame();
  t.ok((await client.bytes(size)).equals(pattern(0, size)), 'each byte arrives once');
  stream.end();
  t.equal((await client.toEnd()).length, 0);
}

t.test(
  'an engine is killed with requests: the library repeats them, and the next engine serves them',
  async (t) => {
    const { bmuxd, server } = shared;
    await server.command({ do: 'hold' });
    const pid = await bmuxd.enginePid();
    const opening = Array.from({ length: 8 }, () => bmuxd.open());
    const own = new Incoming(bmuxd.streamsPath);
    own.socket.write(requestHead(bmuxd));
    await waitFor('the engine to have all requests', async () => (await bmuxd.status()).streams === 9);
    process.kill(pid, 'SIGKILL');
    const killed = performance.now();
    t.equal((await own.toEnd()).length, 0, 'a client without the library gets an end without an answer');
    await waitFor('another engine', async () => {
      const { engines } = await bmuxd.status();
      return engines.some((engine) => engine.pid !== pid && engine.state === 'serving');
    });
    // It takes one second on an idle machine.
    t.ok(performance.now() - killed < 20_000);
    await server.command({ do: 'release' });
    for (const { stream } of await Promise.all(opening)) await echoes(t, stream, 70_000);
    await nothingHeld(server);
  },
);

t.test('requests that come while no engine runs wait for the next one', async (t) => {
  const { bmuxd, server } = shared;
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGKILL');
  await waitFor('the engine to be gone', () => !isAlive(pid));
  const clients = Array.from({ length: 12 }, () => new Incoming(bmuxd.streamsPath));
  for (const { socket } of clients)
    socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 70_000)]));
  for (const client of clients) {
    t.equal((await client.answer()).status, 101);
    await client.frame();
    t.ok((await client.bytes(70_000)).equals(pattern(0, 70_000)), 'each byte arrives once');
    client.socket.end();
    t.equal((await client.toEnd()).length, 0);
  }
  await nothingHeld(server);
});

t.test('an engine is suspended with a request, and runs again later', async (t) => {
  const { bmuxd, server } = await start(t, 15_000);
  await server.command({ do: 'hold' });
  const pid = await bmuxd.enginePid();
  const held = bmuxd.open();
  await waitFor('the engine to have the request', async () => (await bmuxd.status()).streams === 1);
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    try {
      process.kill(pid, 'SIGCONT');
    } catch {
      // The engine has exited.
    }
  });
  await server.command({ do: 'release' });
  const clients = Array.from({ length: 4 }, () => new Incoming(bmuxd.streamsPath));
  for (const { socket } of clients)
    socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 100)]));
  let slowest = 0;
  for (const client of clients) {
    const asked = performance.now();
    await bmuxd.http('GET', '/v1/health');
    slowest = Math.max(slowest, performance.now() - asked);
    t.equal((await client.answer()).status, 101, 'another engine serves the request');
    await client.frame();
    t.ok((await client.bytes(100)).equals(pattern(0, 100)));
  }
  t.ok(slowest < 5000, `control answered within ${Math.round(slowest)} ms`);
  await echoes(t, (await held).stream, 100);
  t.pass('the library repeated the request that the suspended engine had accepted');
  process.kill(pid, 'SIGCONT');
  await waitFor('the old engine to exit', async () => (await bmuxd.engines()).length === 1);
  for (const client of clients) {
    client.socket.end();
    t.equal((await client.toEnd()).length, 0, 'there is no second answer');
  }
  await nothingHeld(server);
});

for (const ends of ['is killed', 'leaves'] as const)
  t.test(`control ${ends} with requests: they wait for the next control`, async (t) => {
    const { bmuxd, server } = await start(t, 15_000);
    await server.command({ do: 'hold' });
    const before = bmuxd.open();
    await waitFor('the engine to have the request', async () => (await bmuxd.status()).streams === 1);
    await (ends === 'leaves' ? bmuxd.leave() : bmuxd.killControl());
    // A client that does not try again.
    const own = new Incoming(bmuxd.streamsPath);
    own.socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 1000)]));
    const after = bmuxd.open();
    const told: Waiting[] = [];
    const watched = bmuxd.open({ onWaiting: (waiting) => told.push(waiting) });
    await waitFor('news for a client that takes them', () => told.length > 0);
    t.equal(told[0]?.step, 'restart of bmuxd');
    await server.command({ do: 'release' });
    const next = await startBmuxd({ sandbox: bmuxd });
    t.teardown(() => next.stop());
    for (const { stream } of await Promise.all([before, after, watched])) await echoes(t, stream, 1000);
    t.equal((await own.answer()).status, 101);
    await own.frame();
    t.ok((await own.bytes(1000)).equals(pattern(0, 1000)));
    own.socket.end();
    t.equal((await own.toEnd()).length, 0);
    await nothingHeld(server);
  });
