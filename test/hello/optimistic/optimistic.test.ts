// A Hello that is answered before the server has: any course of it, and the edges that a course does not reach.
import { once } from 'node:events';
import { Duplex, duplexPair } from 'node:stream';
import t from 'tap';
import type { Failure } from '../../../daemon/base/failure.ts';
import { helloOpening } from '../../../daemon/hello/expected-answer.ts';
import { OptimisticStream } from '../../../daemon/hello/optimistic.ts';
import { Splice } from '../../../daemon/splice/splice.ts';
import { encodeFrame } from '../../../daemon/bmux-ipc/frame.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { pattern } from '../../embedded/traffic.ts';
import { socketPairs } from '../../engine/socket-pairs.ts';
import { waitFor } from '../../real/child.ts';
import { readAll, readBytes } from '../../transport/dialling.ts';
import { anyCourseEndsWell, answersSurviveChunking } from './properties.ts';
import { answer, EPOCH, GREETING, HELLO, PROMISED, Rig, turns } from './rig.ts';

const PING = encodeRequestFrame(EPOCH, 2n, { type: 'ping' });
const STOP = encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' });

t.test('answers survive chunking', () => answersSurviveChunking(150));
t.test('any course ends well', () => anyCourseEndsWell(400));

t.test('an answer that does not come in time breaks the promise by its own name', async (t) => {
  const rig = new Rig({ answerMs: 20 });
  rig.write(STOP);
  rig.now.far.write(answer().subarray(0, -1));
  const error = await new Promise<Error>((resolve) => rig.client.once('error', resolve));
  t.match(error, { code: 'hello_timeout' });
  t.match(error.message, 'within 20 ms');
  t.equal(rig.broken[0], error);
  await rig.finish();
});

t.test('where nothing has been asked yet, the client does not notice', async (t) => {
  const rig = new Rig({ answerMs: 5 });
  while (rig.give === undefined) await turns(1);
  t.equal(rig.broken[0]?.code, 'hello_timeout');
  const { far } = rig.fresh();
  rig.write(STOP);
  far.write('told');
  await turns();
  t.equal(rig.heard.toString(), 'told');
  t.strictSame(rig.now.heard, STOP);
  await rig.finish();
});

t.test('a stream that was dead when it came is a broken promise too, told later than at once', async (t) => {
  for (const how of ['destroyed', 'closed', 'ended'] as const) {
    const [near, far] = duplexPair();
    near.on('error', () => undefined);
    if (how === 'ended') {
      far.end();
      near.resume();
      await once(near, 'end');
    } else near.destroy();
    if (how === 'closed') await once(near, 'close');
    const broken: Failure[] = [];
    let ends = 0;
    const stream = new OptimisticStream({
      inner: near,
      epoch: EPOCH,
      opening: helloOpening(EPOCH, GREETING, PROMISED),
      label: 'prod',
      expected: PROMISED,
      answerMs: 60_000,
      onConfirmed: () => t.fail('nothing was answered'),
      onFailed: (failure) => broken.push(failure),
      reopen: () => {
        throw new Error('nothing there either');
      },
      end: () => (ends += 1),
    });
    t.equal(broken.length, 0, how);
    const error = await new Promise<Failure>((resolve) => stream.on('error', resolve));
    t.equal(error.code, 'optimistic_open_failed', how);
    t.strictSame(
      error.data.causes.at(-1),
      'nothing there either',
      `${how}: what went wrong after that is told`,
    );
    t.strictSame([broken.length, ends], [1, 1], how);
  }
});

t.test('the reopening of a client that has gone is given up', async (t) => {
  const rig = new Rig();
  rig.now.far.end();
  await turns();
  t.notOk(rig.aborted);
  rig.write(PING);
  rig.client.destroy();
  t.ok(rig.aborted);
  await rig.finish();
  t.equal(rig.lines.length, 2, 'and the stream that came all the same was ended');
});

t.test('an answer without an end is not waited for, nor kept', async (t) => {
  const rig = new Rig({ highWaterMark: 1_000_000 });
  rig.write(STOP);
  rig.now.far.write(encodeFrame(new Uint8Array(100_000)).subarray(0, 70_000));
  await turns();
  t.match(rig.error, { code: 'optimistic_open_failed', message: /longer than any answer/ });
  await rig.finish();
});

t.test('back-pressure holds both ways, before and after the answer', async (t) => {
  const rig = new Rig({ highWaterMark: 1000 });
  const { far } = rig.now;
  // A server that does not read.
  far.pause();
  let offered = 0;
  while (offered < 1_000_000 && !rig.client.writableNeedDrain) {
    rig.write(Buffer.alloc(500));
    offered += 500;
    await turns(1);
  }
  t.ok(offered < 10_000, `${String(offered)} bytes taken before the answer`);
  far.resume();
  far.write(answer());
  await turns();
  t.equal(rig.confirmed, 1);
  t.equal(rig.now.heard.length, HELLO.length + offered);
  // A client that does not read.
  rig.client.pause();
  let sent = 0;
  while (sent < 1_000_000 && !far.writableNeedDrain) {
    far.write(Buffer.alloc(500));
    sent += 500;
    await turns(1);
  }
  t.ok(sent < 10_000, `${String(sent)} bytes taken for a client that does not read`);
  rig.client.resume();
  await turns();
  t.equal(rig.heard.length, sent);
  await rig.finish();
});

t.test('what has come is not lost when the line closes before the client has read it', async (t) => {
  const rig = new Rig({ highWaterMark: 1000 });
  const { far, near } = rig.now;
  rig.client.pause();
  far.write(Buffer.concat([answer(), Buffer.alloc(900)]));
  far.end();
  rig.end();
  await turns();
  near.destroy();
  await turns();
  t.ok(near.closed);
  t.notOk(rig.closed);
  rig.client.resume();
  await turns();
  t.equal(rig.heard.length, 900);
  t.ok(rig.ended);
  t.equal(rig.error, undefined);
  await rig.finish();
});

t.test('what has come is there for the last reader when the line breaks', async (t) => {
  const rig = new Rig({ highWaterMark: 1000 });
  const { far, near } = rig.now;
  rig.client.pause();
  far.write(Buffer.concat([answer(), Buffer.alloc(1100)]));
  await turns();
  far.write(Buffer.alloc(700));
  await turns();
  near.destroy(new Error('reset'));
  await turns();
  t.match(rig.error, { message: 'reset' });
  let left = 0;
  for (let chunk: unknown = rig.client.read(); Buffer.isBuffer(chunk); chunk = rig.client.read())
    left += chunk.length;
  t.equal(rig.heard.length + left, 1800);
  await rig.finish();
});

t.test('a write that waits for the old stream goes on with the fresh one', async (t) => {
  const rig = new Rig();
  rig.now.far.pause();
  rig.write(PING);
  await turns();
  t.equal(rig.waiting, 1);
  rig.now.far.end();
  await turns();
  t.equal(rig.waiting, 1);
  rig.fresh();
  await turns();
  t.equal(rig.waiting, 0);
  t.strictSame(rig.now.heard, PING);
  await rig.finish();
});

t.test('a client that destroys the stream while it reads does not stop the end of the server', async (t) => {
  const rig = new Rig();
  rig.client.once('data', () => rig.client.destroy());
  const { far, near } = rig.now;
  far.write(Buffer.concat([answer(), Buffer.alloc(5000)]));
  await turns();
  t.ok(far.readableEnded, 'the server hears the end');
  far.end();
  await turns();
  t.ok(near.readableEnded, 'and is read to its own');
  await rig.finish();
});

t.test('over real sockets', async (t) => {
  const pairs = await socketPairs();
  t.teardown(() => pairs.close());
  const start = async () => {
    const { client: inner, accepted: server } = await pairs.open();
    const stream = new OptimisticStream({
      inner,
      epoch: EPOCH,
      opening: helloOpening(EPOCH, GREETING, PROMISED),
      label: 'prod',
      expected: PROMISED,
      answerMs: 60_000,
      onConfirmed: () => undefined,
      onFailed: () => undefined,
      reopen: () => Promise.reject(new Error('nobody is there')),
    });
    return { inner, server, stream };
  };

  t.test('Hello and request are there before the answer; both ends pass, in either order', async (t) => {
    const { server, stream, inner } = await start();
    stream.end(STOP);
    t.strictSame(await readAll(server.resume()), Buffer.concat([HELLO, STOP]));
    server.end(Buffer.concat([answer(), Buffer.from('stopping')]));
    t.equal((await readAll(stream)).toString(), 'stopping');
    if (!inner.closed) await once(inner, 'close');
  });

  t.test('an error that nobody listens for yet ends nothing but the stream', async (t) => {
    const { server, stream } = await start();
    stream.write(STOP);
    server.end();
    await new Promise((resolve) => stream.once('close', resolve));
    t.match(stream.errored, { code: 'optimistic_open_failed' });
  });

  t.test('destroyed, it still ends properly', async (t) => {
    const { server, stream } = await start();
    stream.destroy();
    t.strictSame(await readAll(server.resume()), HELLO, 'an end, not a reset');
    server.end();
  });

  t.test('a splice tells a broken promise as what it is', async (t) => {
    const { server, stream } = await start();
    const { client, accepted } = await pairs.open();
    const splice = new Splice({ client: accepted, remote: stream, clientBufferLimit: 0 });
    accepted.resume();
    client.write(STOP);
    await readBytes(server.resume(), HELLO.length + STOP.length);
    server.write(answer({ ...PROMISED, revision: 2 }));
    server.resume();
    server.on('end', () => server.end());
    client.resume();
    client.on('end', () => client.end());
    t.match(await splice.done, { reason: 'remote lost', why: /negotiates something else/ });
  });
});

t.test(
  'a write is done when the stream below is done with its bytes, and not when there is room for more',
  async (t) => {
    const taken: Buffer[] = [];
    // Looks at what it was given only later, as a socket does that is busy.
    const inner = new Duplex({
      read() {},
      writableHighWaterMark: 1024 * 1024,
      write(chunk: Buffer, _encoding, done) {
        setImmediate(() => {
          taken.push(Buffer.from(chunk));
          done();
        });
      },
    });
    const stream = new OptimisticStream({
      inner,
      epoch: EPOCH,
      opening: helloOpening(EPOCH, GREETING, PROMISED),
      expected: PROMISED,
      answerMs: 10_000,
      label: 'far',
      onConfirmed: () => undefined,
      onFailed: () => undefined,
      reopen: () => new Promise(() => undefined),
    });
    stream.resume();
    inner.push(answer());
    await turns();
    const total = 50 * 1000;
    for (let at = 0; at < total; at += 1000) {
      const chunk = pattern(at, 1000);
      stream.write(chunk, () => chunk.fill(0));
      if (at % 3000 === 0) await turns(1);
    }
    await waitFor(
      'all of it',
      () => taken.reduce((sum, { length }) => sum + length, 0) === HELLO.length + total,
    );
    t.ok(Buffer.concat(taken).subarray(HELLO.length).equals(pattern(0, total)));
    inner.push(null);
    stream.destroy();
    await once(stream, 'close');
  },
);
