// One side writes to another that has closed. What the other had sent before still arrives.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { waitFor } from '../real/child.ts';
import { readAll } from '../transport/dialling.ts';
import { endOf, startPairs } from './pair.ts';

const pairs = await startPairs();
t.teardown(() => pairs.close());

/** Writes until the kernel takes no more; returns the number of bytes written. */
async function fill(socket: Socket): Promise<number> {
  const piece = Buffer.alloc(1000, 1);
  for (let taken = 0; ; taken += piece.length) {
    const written = new Promise<true>((resolve) => socket.write(piece, () => resolve(true)));
    const full = pause(300, false);
    if (!(await Promise.race([written, full]))) return taken;
  }
}

t.test('the server answers and closes: a client that still sends reads the whole answer', async (t) => {
  // The client's byte and the server's answer are both available in the same turn of the event loop.
  const all = await pairs.spliced();
  const got = readAll(all.client);
  all.client.write('more');
  all.server.write(Buffer.alloc(100_000));
  all.server.destroySoon();
  t.equal((await got).length, 100_000);
  all.client.end();
  t.match(await endOf(t, all), { reason: 'finished', why: 'the server ended first' });
});

t.test('the same when the client reads slowly and has sent more than the buffers hold', async (t) => {
  const all = await pairs.spliced();
  const { client, server } = all;
  client.pause();
  const taken = await fill(server);
  server.destroy();
  client.write(Buffer.alloc(2_000_000));
  let read = 0;
  client.on('data', (chunk: Buffer) => (read += chunk.length));
  client.resume();
  await once(client, 'end');
  t.ok(read >= taken, `${String(read)} of ${String(taken)} bytes`);
  client.end();
  t.match(await endOf(t, all), { reason: 'finished' });
});

t.test('what a client has sent before it closed reaches the server', async (t) => {
  const all = await pairs.spliced();
  const { client, server } = all;
  server.pause();
  const taken = await fill(client);
  client.destroy();
  server.write('answer');
  await waitFor('the answer to be written', () => all.splice.bytesDown === 6);
  let read = 0;
  server.on('data', (chunk: Buffer) => (read += chunk.length));
  server.resume();
  await once(server, 'end');
  t.ok(read >= taken, `${String(read)} of ${String(taken)} bytes`);
  server.end();
  t.match(await endOf(t, all), { reason: 'client lost' });
});

t.test('both sides close while the buffers in both directions are full', async (t) => {
  const all = await pairs.spliced({ endMs: 500 });
  const { client, server } = all;
  client.pause();
  server.pause();
  await Promise.all([fill(client), fill(server)]);
  client.destroy();
  server.destroy();
  t.match((await endOf(t, all)).reason, /lost|finished/);
});

t.test('a stream whose client was killed ends although its server reads nothing', async (t) => {
  const all = await pairs.spliced({ endMs: 500 });
  const { client, server } = all;
  server.pause();
  await fill(client);
  client.destroy();
  await waitFor('the client to be gone', () => client.closed);
  server.write('answer');
  t.match(await endOf(t, all), { reason: 'client lost', cut: 'remote' });
});

t.test('the client is told that it lost something only when it did', async (t) => {
  const told: (string | undefined)[] = [];
  const onEnd = (lost: string | undefined): void => void told.push(lost);
  const whole = await pairs.spliced({ endMs: 100, onEnd });
  whole.server.end('answer');
  t.equal((await readAll(whole.client)).toString(), 'answer');
  t.match(await endOf(t, whole), { reason: 'finished', lost: undefined });
  const cut = await pairs.spliced({ onEnd });
  cut.inner[1].destroy(new Error('read ECONNRESET'));
  await readAll(cut.client);
  t.match(await endOf(t, cut), { reason: 'remote lost' });
  t.same(told, [undefined, 'the connection to its server was lost: read ECONNRESET']);
});
