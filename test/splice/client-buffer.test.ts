// Tests the splice with a client that reads slowly or not at all: it loses no bytes, and a limited number of bytes is read ahead of it.
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { PatternCheck } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { check, endOf, send, startPairs } from './pair.ts';

const pairs = await startPairs();
t.teardown(() => pairs.close());

t.test('a slow client gets all that the server sent before it ended', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 4_194_304, endMs: 1000, lingerMs: 5000 });
  const { client, server } = all;
  client.pause();
  const bytes = 3 * 1024 * 1024;
  await send(server, bytes);
  server.end();
  await waitFor(
    'the server to be read to its end',
    () => server.bytesWritten === bytes && server.writableFinished,
  );
  const checked = check(client);
  client.on('data', () => {
    if (checked.count === bytes) client.end();
  });
  client.pause();
  // The client reads so slowly that it takes longer than the limit of a graceful end.
  const slow = setInterval(() => {
    client.resume();
    setImmediate(() => client.pause());
  }, 100);
  await waitFor('all bytes to arrive', () => checked.count === bytes);
  clearInterval(slow);
  client.resume();
  t.equal(checked.badAt, undefined);
  t.match(await endOf(t, all), { reason: 'finished', bytesDown: bytes });
});

t.test('a slow client gets all that the server sent before it was reset', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 4_194_304 });
  const { client, server } = all;
  client.pause();
  const bytes = 1024 * 1024;
  await send(server, bytes);
  await waitFor('the bytes to be read', () => all.splice.bytesDown === bytes);
  // Closing with unread bytes resets the connection.
  all.inner[1].destroy(new Error('read ECONNRESET'));
  const checked = check(client);
  client.resume();
  await once(client, 'end');
  client.end();
  t.strictSame([checked.count, checked.badAt], [bytes, undefined]);
  t.match(await endOf(t, all), { reason: 'remote lost', why: 'read ECONNRESET' });
});

async function notReading(t: Test, clientBufferLimit: number): Promise<void> {
  const all = await pairs.spliced({ clientBufferLimit, endMs: 200 });
  const { client, server, splice } = all;
  client.pause();
  const sending = send(server, 64 * 1024 * 1024);
  await waitFor(
    'back-pressure at the server',
    () => server.writableNeedDrain && splice.bytesDown >= clientBufferLimit,
  );
  const held = splice.bytesDown;
  t.ok(
    held < clientBufferLimit + 512 * 1024,
    `${held} bytes were read with a clientBufferLimit of ${clientBufferLimit}`,
  );
  // When the client has read a part, the server can write again before the buffer is empty.
  const checked = check(client);
  await waitFor('a part to arrive', () => checked.count > 512 * 1024 || (client.resume(), false));
  client.pause();
  await waitFor('more to be read from the server', () => splice.bytesDown > held);
  t.ok(splice.bytesDown < held + checked.count + 256 * 1024, 'no more is read than the client has taken');
  await new Promise((resolve) => setTimeout(resolve, 2500));
  // A real server closes after 5 s.
  server.destroy();
  client.destroy();
  const end = await endOf(t, all);
  t.ok((end.stalledMs ?? 0) >= 1000, `stalled for ${end.stalledMs} ms`);
  await sending;
}

t.test('for a client that does not read, no more than clientBufferLimit is read', (t) =>
  notReading(t, 1024 * 1024),
);
t.test('the same with a clientBufferLimit equal to what is read ahead of any client', (t) =>
  notReading(t, 256 * 1024),
);

t.test('little is read ahead of a client that keeps up', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 64 * 1024 * 1024 });
  const { client, server, splice } = all;
  let most = 0;
  const checked = new PatternCheck();
  client.on('data', (chunk: Buffer) => {
    checked.push(chunk);
    most = Math.max(most, splice.bytesDown - checked.count);
    // The client is slower than the server, but reads all the time.
    client.pause();
    setTimeout(() => client.resume(), 1);
  });
  const total = 24 * 1024 * 1024;
  await send(server, total);
  server.end();
  await once(client, 'end');
  client.end();
  await endOf(t, all);
  t.equal(checked.count, total);
  // The buffers of the sockets count too.
  t.ok(most < 2 * 1024 * 1024, `${String(most)} bytes were ahead`);
});
