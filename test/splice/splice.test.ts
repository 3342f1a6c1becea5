// Tests the splice over real sockets: every byte arrives, every kind of end is reported, and memory stays bounded.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { adopt } from '../../daemon/sockets/accepted-socket.ts';
import { Splice } from '../../daemon/splice/splice.ts';
import { pattern } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { readAll } from '../transport/dialling.ts';
import { check, endOf, send, startPairs } from './pair.ts';

const pairs = await startPairs();
t.teardown(() => pairs.close());

t.test('100 MB each way at the same time arrive unchanged, and memory stays bounded', async (t) => {
  const all = await pairs.spliced({ clientBufferLimit: 4_194_304 });
  const { client, server } = all;
  const bytes = 100 * 1024 * 1024;
  const [up, down] = [check(server), check(client)];
  let peak = 0;
  // Garbage is collected before each measurement, because its amount depends on the version of Node more than on the splice.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const timer = setInterval(() => {
    collect();
    const { arrayBuffers, external } = process.memoryUsage();
    peak = Math.max(peak, arrayBuffers, external);
  }, 50);
  await Promise.all([send(client, bytes).then(() => client.end()), send(server, bytes)]);
  // A server does not half-close: its end ends its client, whatever that sends still.
  await waitFor('all bytes at the server', () => up.count === bytes);
  server.end();
  const end = await endOf(t, all);
  await waitFor('the client to read the last bytes', () => down.count === bytes);
  clearInterval(timer);
  t.match(end, { reason: 'finished', bytesUp: bytes, bytesDown: bytes });
  t.strictSame([up.count, up.badAt, down.count, down.badAt], [bytes, undefined, bytes, undefined]);
  t.ok(peak > 0 && peak < 80 * 1024 * 1024, `${peak} bytes of buffers`);
});

t.test('a client may end first, and its server goes on', async (t) => {
  const first = await pairs.spliced();
  first.client.end('question');
  t.equal((await readAll(first.server)).toString(), 'question');
  first.server.end('answer');
  t.equal((await readAll(first.client)).toString(), 'answer', 'the server sends after the client has ended');
  t.match(await endOf(t, first), { reason: 'finished', why: undefined, bytesUp: 8, bytesDown: 6 });
});

t.test('the end of a server ends its client both ways, at once', async (t) => {
  const all = await pairs.spliced({ endMs: 600_000 });
  const { client, server } = all;
  client.write('before');
  server.end('bye');
  t.equal((await readAll(client)).toString(), 'bye');
  // The client has not ended its side; a write fails as on the socket of a server that is gone.
  await waitFor('a write to fail', () => {
    client.write('x');
    return client.destroyed;
  });
  t.equal((await readAll(server)).toString(), 'before', 'what the client sent before reaches the server');
  t.match(await endOf(t, all), {
    reason: 'finished',
    why: 'the server ended first',
    lost: undefined,
    cut: undefined,
  });
});

// bmux writes as soon as it has read the end. It leaves when that fails, and waits 5 s for an answer when it does not.
t.test('the first write of a client after the end of its server fails', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-first-write-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 's.sock');
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  listener.listen(path);
  await once(listener, 'listening');
  t.teardown(() => listener.close());
  // Another thread, so that it reads and writes between any two steps of the splice.
  const clients = new Worker(
    `const { connect } = require('node:net');
     const { parentPort, workerData } = require('node:worker_threads');
     parentPort.on('message', () => {
       const client = connect({ path: workerData, allowHalfOpen: true });
       client.on('error', () => undefined).resume().once('end', () => client.write('x', (error) => parentPort.postMessage(error?.code)));
     });`,
    { eval: true, workerData: path },
  );
  t.teardown(() => clients.terminate());
  for (let at = 0; at < 50; at += 1) {
    const connected = once(listener, 'connection');
    const answered = once(clients, 'message');
    clients.postMessage('connect');
    const [near] = (await connected) as [Socket];
    const client = adopt(near);
    if (client === undefined) throw new Error('the client has left');
    const [server, far] = await pairs.pair();
    const splice = new Splice({ client, remote: far, clientBufferLimit: 65_536 });
    client.resume();
    far.resume();
    server.resume().write('bye');
    await waitFor('the bytes to pass', () => splice.bytesDown === 3);
    server.end();
    t.match(await answered, ['EPIPE']);
    t.match(await splice.done, { reason: 'finished' });
  }
});

t.test('a client that has ended its side is cut when the server sends nothing more', async (t) => {
  const all = await pairs.spliced({ lingerMs: 3000, endMs: 100 });
  const ended = once(all.server.resume(), 'end');
  all.client.end();
  const since = performance.now();
  await ended;
  // The client may stay as long as the server sends data.
  const talk = setInterval(() => all.server.write('x'), 50);
  const heard = once(all.client, 'data');
  await heard;
  await waitFor('4 s to pass', () => performance.now() - since > 4000);
  t.equal(all.splice.ending, false);
  clearInterval(talk);
  t.match(await endOf(t, all), { reason: 'out of time', why: /said nothing more/ });
});

t.test('a process that was blocked reads what has come before it applies a time limit', async (t) => {
  const lingerMs = 400;
  const all = await pairs.spliced({ lingerMs });
  const ended = once(all.server.resume(), 'end');
  all.client.end();
  await ended;
  const heard = readAll(all.client);
  // The data is sent within the time limit, but the blocked process reads it only after the limit.
  all.server.write('late');
  const until = performance.now() + 2 * lingerMs;
  while (performance.now() < until);
  await waitFor('the data to be read', () => all.splice.bytesDown === 4);
  all.server.end();
  t.equal((await heard).toString(), 'late');
  t.match(await endOf(t, all), { reason: 'finished' });
});

t.test('a client is killed while much data goes both ways', async (t) => {
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
    // As a real server, this one ends its side when its client has ended.
    server.once('end', () => server.end());
    server.resume();
    void send(server, 1024 * 1024 * 1024);
    const want = (round + 1) * 1_000_000;
    await waitFor('data in both directions', () => splice.bytesUp > want && splice.bytesDown > want);
    child.kill('SIGKILL');
    const end = await splice.done;
    t.match(end, { cut: undefined }, 'the server got its end and ended its own side, so nothing was cut');
    t.match(end.reason, /finished|client lost/);
    t.equal(server.readableEnded, true);
  }
});

t.test('stop: the server gets its end, and the client the last bytes of the server', async (t) => {
  const all = await pairs.spliced();
  const { client, server, splice } = all;
  client.write('hello');
  await once(server, 'data');
  server.once('end', () => server.end('final bytes'));
  server.resume();
  splice.stop('bmuxd stop');
  splice.stop('again');
  t.equal((await readAll(client)).toString(), 'final bytes');
  t.match(await endOf(t, all), {
    reason: 'stopped',
    why: 'bmuxd stop',
    lost: 'it was ended by bmuxd stop',
    cut: undefined,
  });
});

t.test('stop: sides that do not end are cut after the time limit', async (t) => {
  const all = await pairs.spliced({ endMs: 150 });
  all.splice.stop('bmuxd stop');
  t.match(await endOf(t, all), { reason: 'stopped', cut: 'both' });
  const flooding = await pairs.spliced({ endMs: 150 });
  flooding.client.pause();
  void send(flooding.server, 64 * 1024 * 1024);
  flooding.splice.stop('bmuxd stop');
  t.match(await endOf(t, flooding), { reason: 'stopped', cut: 'both' });
});

t.test('stop: a silent server is not waited for, and its client gets the end', async (t) => {
  const all = await pairs.spliced({ endMs: 600_000 });
  all.server.write('final bytes');
  all.splice.stop('bmuxd stop');
  t.equal((await readAll(all.client)).toString(), 'final bytes');
  t.match(await endOf(t, all), { reason: 'stopped', lost: 'it was ended by bmuxd stop', cut: 'remote' });
});

t.test('stop: a server that still speaks is waited for', async (t) => {
  const all = await pairs.spliced({ endMs: 600_000 });
  all.splice.stop('bmuxd stop');
  const parts = 8;
  const said = readAll(all.client);
  for (let part = 0; part < parts; part += 1) {
    all.server.write('x');
    await sleep(LIMITS.muteMs / 5);
  }
  all.server.end();
  t.equal((await said).toString(), 'x'.repeat(parts));
  t.match(await endOf(t, all), { reason: 'stopped', cut: undefined });
});

t.test('a side that was closed before the splice began counts as lost', async (t) => {
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

t.test('1,000 splices leave no listeners, timers or warnings', async (t) => {
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
