// Tests the splice over real sockets: every byte, every kind of end, and the memory used meanwhile.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t, { type Test } from 'tap';
import { Splice } from '../../daemon/splice/splice.ts';
import { PatternCheck, pattern, patternPieces } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { readAll } from '../transport/dialling.ts';
import { endOf, startPairs } from './pair.ts';

const pairs = await startPairs();
t.teardown(() => pairs.close());

/** Writes the numbered bytes with back-pressure; stops when the socket breaks. */
async function send(socket: Socket, bytes: number): Promise<void> {
  for (const piece of patternPieces(bytes)) {
    if (socket.destroyed) return;
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
}

function check(socket: Socket): PatternCheck {
  const checked = new PatternCheck();
  socket.on('data', (chunk: Buffer) => checked.push(chunk));
  return checked;
}

t.test('200 MB through, both ways at once, with flat memory', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 4_194_304 });
  const { client, server } = all;
  const bytes = 100 * 1024 * 1024;
  const [up, down] = [check(server), check(client)];
  let peak = 0;
  // Memory that is already garbage depends on the version of Node more than on the splice.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const timer = setInterval(() => {
    collect();
    const { arrayBuffers, external } = process.memoryUsage();
    peak = Math.max(peak, arrayBuffers, external);
  }, 50);
  await Promise.all([
    send(client, bytes).then(() => client.end()),
    send(server, bytes).then(() => server.end()),
  ]);
  const end = await endOf(t, all);
  clearInterval(timer);
  t.match(end, { reason: 'finished', bytesUp: bytes, bytesDown: bytes });
  t.strictSame([up.count, up.badAt, down.count, down.badAt], [bytes, undefined, bytes, undefined]);
  t.ok(peak > 0 && peak < 80 * 1024 * 1024, `${peak} bytes of buffers`);
});

t.test('half-close in both orders', async (t) => {
  const first = await pairs.spliced();
  first.client.end('question');
  t.equal((await readAll(first.server)).toString(), 'question');
  first.server.end('answer');
  t.equal((await readAll(first.client)).toString(), 'answer', 'the server may go on after the client');
  t.match(await endOf(t, first), { reason: 'finished', why: undefined, bytesUp: 8, bytesDown: 6 });

  const second = await pairs.spliced();
  second.server.end('bye');
  t.equal((await readAll(second.client)).toString(), 'bye');
  second.client.end('one more thing');
  t.equal((await readAll(second.server)).toString(), 'one more thing', 'and the client after the server');
  t.match(await endOf(t, second), { reason: 'finished', why: 'the server ended first' });
});

t.test('a client that stays after the server has ended', async (t) => {
  const all = await pairs.spliced({ endMs: 100 });
  all.server.end();
  await readAll(all.client);
  t.match(await endOf(t, all), { reason: 'out of time', why: /the server had ended, and the client/ });
});

t.test('a client that closed its side and hears nothing more', async (t) => {
  const all = await pairs.spliced({ lingerMs: 3000, endMs: 100 });
  const ended = once(all.server.resume(), 'end');
  all.client.end();
  const since = performance.now();
  await ended;
  // The client may stay as long as the server sends data.
  const talk = setInterval(() => all.server.write('x'), 50);
  const heard = once(all.client, 'data');
  await heard;
  await waitFor('4 s of talk', () => performance.now() - since > 4000);
  t.equal(all.splice.ending, false);
  clearInterval(talk);
  t.match(await endOf(t, all), { reason: 'out of time', why: /said nothing more/ });
});

t.test('a process that did not run reads before it judges', async (t) => {
  const lingerMs = 400;
  const all = await pairs.spliced({ lingerMs });
  const ended = once(all.server.resume(), 'end');
  all.client.end();
  await ended;
  const heard = readAll(all.client);
  // Sent in time, and not read before the time limit.
  all.server.write('late');
  const until = performance.now() + 2 * lingerMs;
  while (performance.now() < until);
  await waitFor('it to be read', () => all.splice.bytesDown === 4);
  all.server.end();
  t.equal((await heard).toString(), 'late');
  t.match(await endOf(t, all), { reason: 'finished' });
});

t.test('what a server said before it left reaches a slow client', async (t) => {
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
  // Slowly: it takes longer than the limit of a graceful end.
  const slow = setInterval(() => {
    client.resume();
    setImmediate(() => client.pause());
  }, 100);
  await waitFor('all of it', () => checked.count === bytes);
  clearInterval(slow);
  client.resume();
  t.equal(checked.badAt, undefined);
  t.match(await endOf(t, all), { reason: 'finished', bytesDown: bytes });
});

t.test('the same when the server is reset', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 4_194_304 });
  const { client, server } = all;
  client.pause();
  const bytes = 1024 * 1024;
  await send(server, bytes);
  await waitFor('it to be read', () => all.splice.bytesDown === bytes);
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
    `${held} bytes were taken for a clientBufferLimit of ${clientBufferLimit}`,
  );
  // The client reads a part: the server may write again at once, before the whole clientBufferLimit is empty.
  const checked = check(client);
  await waitFor('a part', () => checked.count > 512 * 1024 || (client.resume(), false));
  client.pause();
  await waitFor('more to be taken', () => splice.bytesDown > held);
  t.ok(splice.bytesDown < held + checked.count + 256 * 1024, 'no more than went out');
  await new Promise((resolve) => setTimeout(resolve, 2500));
  // A real server closes after 5 s; the result contains the reason.
  server.destroy();
  client.destroy();
  const end = await endOf(t, all);
  t.ok((end.stalledMs ?? 0) >= 1000, `stalled for ${end.stalledMs} ms`);
  await sending;
}

t.test('a client that does not read', (t) => notReading(t, 1024 * 1024));
t.test('the same with a clientBufferLimit that is full as soon as enough is read ahead', (t) =>
  notReading(t, 256 * 1024),
);

t.test('a client that keeps up gets everything soon: what is read ahead of it is little', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 64 * 1024 * 1024 });
  const { client, server, splice } = all;
  let most = 0;
  const checked = new PatternCheck();
  client.on('data', (chunk: Buffer) => {
    checked.push(chunk);
    most = Math.max(most, splice.bytesDown - checked.count);
    // Slower than the server, and never pausing.
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
  // Sockets buffer some of it too.
  t.ok(most < 2 * 1024 * 1024, `${String(most)} bytes were ahead`);
});

t.test('a client that is killed in the middle of bulk in both directions', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-kill-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 's.sock');
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(path);
  t.teardown(() => listener.close());
  await once(listener, 'listening');
  const talker = `const s = require('net').connect(${JSON.stringify(path)}); s.on('data', () => {});
    const go = () => { while (s.write(Buffer.alloc(65536))); }; s.on('drain', go); go();`;
  for (let round = 0; round < 4; round += 1) {
    const accepted = once(listener, 'connection');
    const child = spawn(process.execPath, ['-e', talker]);
    t.teardown(() => child.kill('SIGKILL'));
    const [near] = (await accepted) as [Socket];
    const [server, far] = await pairs.pair();
    const splice = new Splice({ client: near, remote: far, clientBufferLimit: 65_536 });
    near.resume();
    far.resume();
    // A server that ends after its client's end, as the real one does.
    server.once('end', () => server.end());
    server.resume();
    void send(server, 1024 * 1024 * 1024);
    const want = (round + 1) * 1_000_000;
    await waitFor('bulk both ways', () => splice.bytesUp > want && splice.bytesDown > want);
    child.kill('SIGKILL');
    const end = await splice.done;
    t.match(end, { cut: undefined }, 'the server had its proper end, and gave its own');
    t.match(end.reason, /finished|client lost/);
    t.equal(server.readableEnded, true);
  }
});

t.test('stop: the server hears the end, the client what is still said', async (t) => {
  const all = await pairs.spliced();
  const { client, server, splice } = all;
  client.write('hello');
  await once(server, 'data');
  server.once('end', () => server.end('final bytes'));
  server.resume();
  splice.stop('bmuxd stop');
  splice.stop('again');
  t.equal((await readAll(client)).toString(), 'final bytes');
  client.end();
  t.match(await endOf(t, all), { reason: 'stopped', why: 'bmuxd stop', cut: undefined });
});

t.test('stop: whoever does not end is cut in time', async (t) => {
  const all = await pairs.spliced({ endMs: 150 });
  all.splice.stop('bmuxd stop');
  t.match(await endOf(t, all), { reason: 'stopped', cut: 'both' });
  const flooding = await pairs.spliced({ endMs: 150 });
  flooding.client.pause();
  void send(flooding.server, 64 * 1024 * 1024);
  flooding.splice.stop('bmuxd stop');
  t.match(await endOf(t, flooding), { reason: 'stopped', cut: 'both' });
});

t.test('sides that were gone before', async (t) => {
  for (const which of [0, 1] as const) {
    const [[client, near], [server, far]] = [await pairs.pair(), await pairs.pair()];
    [near, far][which]?.destroy();
    for (const socket of [client, server]) {
      socket.once('end', () => socket.end());
      socket.resume();
    }
    const splice = new Splice({ client: near, remote: far, clientBufferLimit: 65_536 });
    near.resume();
    far.resume();
    t.match(await splice.done, { reason: which === 0 ? 'client lost' : 'remote lost' });
  }
});

t.test('1,000 splices leave nothing behind', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  const listeners = (): number =>
    process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0);
  const before = listeners();
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const timersBefore = timers();
  for (let i = 0; i < 1000; i += 1) {
    const all = await pairs.spliced();
    all.client.end(pattern(0, 10));
    all.server.once('end', () => all.server.end('ok'));
    all.server.resume();
    all.client.resume();
    const end = await all.splice.done;
    if (end.reason !== 'finished' || end.bytesUp !== 10 || end.bytesDown !== 2) t.fail(JSON.stringify(end));
  }
  t.equal(listeners(), before);
  t.equal(timers(), timersBefore, 'no timer is left');
  t.strictSame(warnings, []);
});
