// The hand-off of upgraded sockets through the real daemon: exactness, bounds, clients that leave, engines that die with sockets.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { pattern } from '../embedded/traffic.ts';
import { isAlive, waitFor } from '../real/child.ts';
import { Incoming, rawModeFrame, requestHead } from './requests.ts';
import { upgradesLoseNothing } from './upgrades.ts';

/** `timeoutMs`: what a request for a stream may take. */
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
  waitFor('the connections to come back', async () => (await server.status()).connections === 0);

const shared = await start(t, 30_000);

t.test('1,000 upgrades lose no byte', async (t) => {
  const { bmuxd, server } = shared;
  await upgradesLoseNothing(bmuxd, 1000);
  await nothingHeld(server);
  t.pass();
});

t.test('bytes, ends and deaths while the dial is under way', async (t) => {
  const { bmuxd, server } = shared;
  await server.command({ do: 'hold' });
  const clients = Array.from({ length: 8 }, () => new Incoming(bmuxd.socketPath));
  for (const { socket } of clients) socket.write(requestHead(bmuxd));
  await waitFor('all to be with the engine', async () => (await bmuxd.status()).streams === clients.length);
  const size = 200_000;
  for (const [index, { socket }] of clients.entries()) {
    socket.write(rawModeFrame({ type: 'echo' }));
    socket.write(pattern(0, size));
    if (index % 2 === 0) socket.end();
  }
  // Two of them leave before there is an answer: one has ended its side before, one has not.
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

t.test('a client that writes without end is not read before its stream is there', async (t) => {
  const { bmuxd, server } = shared;
  // The engine takes nothing: the socket stays with control.
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => process.kill(pid, 'SIGCONT'));
  const client = new Incoming(bmuxd.socketPath);
  const { socket } = client;
  const size = 16 * 1024 * 1024;
  socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 100_000)]));
  socket.write(pattern(100_000, size - 100_000));
  const health = await bmuxd.http('GET', '/v1/health');
  t.equal(health.status, 200, 'control has time for others');
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.ok(
    socket.writableLength > size - 2_000_000,
    `${size - socket.writableLength} bytes have left the client`,
  );
  process.kill(pid, 'SIGCONT');
  t.equal((await client.answer()).status, 101);
  await client.frame();
  t.ok((await client.bytes(size)).equals(pattern(0, size)), 'and all of it arrives');
  socket.end();
  await nothingHeld(server);
});

t.test('an engine that dies with sockets in its hands', async (t) => {
  const { bmuxd, server } = shared;
  await server.command({ do: 'hold' });
  const pid = await bmuxd.enginePid();
  const clients = Array.from({ length: 12 }, () => new Incoming(bmuxd.socketPath));
  for (const { socket } of clients)
    socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 70_000)]));
  await waitFor('all to be with the engine', async () => (await bmuxd.status()).streams === clients.length);
  process.kill(pid, 'SIGKILL');
  const killed = performance.now();
  await waitFor('another engine', async () => {
    const { engines } = await bmuxd.status();
    return engines.some((engine) => engine.pid !== pid && engine.state === 'serving');
  });
  // A second on a machine that has nothing else to do.
  t.ok(performance.now() - killed < 20_000);
  await server.command({ do: 'release' });
  for (const client of clients) {
    t.equal((await client.answer()).status, 101, 'served by the next one');
    await client.frame();
    t.ok((await client.bytes(70_000)).equals(pattern(0, 70_000)), 'each byte once');
    client.socket.end();
    t.equal((await client.toEnd()).length, 0);
  }
  await nothingHeld(server);
});

t.test('a request that kills every engine is told so', async (t) => {
  const { bmuxd, server } = shared;
  await server.command({ do: 'hold' });
  const client = new Incoming(bmuxd.socketPath);
  client.socket.write(requestHead(bmuxd));
  let killed = 0;
  for (let death = 0; death < 2; death += 1) {
    let pid = 0;
    await waitFor('it to be with an engine', async () => {
      const { engines } = await bmuxd.status();
      pid = engines.find((engine) => engine.pid !== killed && engine.streams === 1)?.pid ?? 0;
      return pid !== 0;
    });
    process.kill(pid, 'SIGKILL');
    killed = pid;
    await waitFor('the engine to be gone', () => !isAlive(pid));
  }
  const { status } = await client.answer();
  t.equal(status, 503);
  t.match((await client.toEnd()).toString(), /"code":"engine_lost"/);
  await server.command({ do: 'release' });
});

t.test('an engine that is stopped, and wakes up again', async (t) => {
  // Long enough that those who wait see the next engine come.
  const { bmuxd, server } = await start(t, 15_000);
  const pid = await bmuxd.enginePid();
  process.kill(pid, 'SIGSTOP');
  t.teardown(() => {
    try {
      process.kill(pid, 'SIGCONT');
    } catch {
      // It has left.
    }
  });
  const since = performance.now();
  const clients = Array.from({ length: 4 }, () => new Incoming(bmuxd.socketPath));
  for (const { socket } of clients)
    socket.write(Buffer.concat([requestHead(bmuxd), rawModeFrame({ type: 'echo' }), pattern(0, 100)]));
  let slowest = 0;
  const answers = await Promise.all(
    clients.map(async (client) => {
      const asked = performance.now();
      await bmuxd.http('GET', '/v1/health');
      slowest = Math.max(slowest, performance.now() - asked);
      return client.answer();
    }),
  );
  t.ok(slowest < 5000, `control answered within ${Math.round(slowest)} ms`);
  t.ok(performance.now() - since < 45_000, 'in bounded time');
  const statuses = answers.map(({ status }) => status).sort((a, b) => a - b);
  t.strictSame(statuses.slice(0, 3), [101, 101, 101], 'those that were not sent to it are served by another');
  t.equal(statuses[3], 504, 'the one that was is told');
  const refused = clients[answers.findIndex(({ status }) => status === 504)];
  t.match((await refused?.toEnd())?.toString(), /"code":"engine_stuck"/);
  const { hellos = 0 } = (await server.status()).server ?? {};
  process.kill(pid, 'SIGCONT');
  await waitFor('the old one to leave', async () => (await bmuxd.engines()).length === 1, 15_000);
  t.equal((await server.status()).server?.hellos, hellos, 'it did nothing for the client that was refused');
  for (const client of clients.filter((_client, index) => answers[index]?.status === 101)) {
    await client.frame();
    t.ok((await client.bytes(100)).equals(pattern(0, 100)));
    client.socket.end();
    t.equal((await client.toEnd()).length, 0, 'no second answer');
  }
  await nothingHeld(server);
});
