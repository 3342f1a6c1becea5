// The optimistic stream: random courses of events, and the cases that they do not reach.
import { once } from 'node:events';
import { Duplex, duplexPair } from 'node:stream';
import t from 'tap';
import type { Failure } from '../../../daemon/base/failure.ts';
import { helloOpening } from '../../../daemon/hello/expected-answer.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { OptimisticStream } from '../../../daemon/hello/optimistic.ts';
import { SshEnd } from '../../../daemon/transport/ssh/failures.ts';
import { encodeFrame } from '../../../daemon/bmux-ipc/frame.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { pattern } from '../../embedded/traffic.ts';
import { waitFor } from '../../real/child.ts';
import { anyCourseEndsWell, answersSurviveChunking } from './properties.ts';
import { answer, EPOCH, GREETING, HELLO, EXPECTED, Rig, turns } from './rig.ts';

const PING = encodeRequestFrame(EPOCH, 2n, { type: 'ping' });
const STOP = encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' });

t.test('an answer is compared however it is cut into chunks', () => answersSurviveChunking(150));
t.test('any course of events: no byte is lost or sent twice, and every stream is ended', () =>
  anyCourseEndsWell(400),
);

t.test('an answer that does not come in time fails with hello_timeout', async (t) => {
  const rig = new Rig({ answerMs: 20 });
  rig.write(STOP);
  rig.now.far.write(answer().subarray(0, -1));
  const error = await new Promise<Error>((resolve) => rig.client.once('error', resolve));
  t.match(error, { code: 'hello_timeout' });
  t.match(error.message, 'within 20 ms');
  t.equal(rig.failures[0], error);
  await rig.finish();
});

t.test('a stream whose last byte did not reach the server is replaced under any one request', async (t) => {
  const ended = (): SshEnd => new SshEnd(fail('ssh_server_ended', { label: 'prod' }), 'last byte');
  const rig = new Rig();
  rig.write(STOP);
  await turns();
  rig.now.near.destroy(ended());
  await turns();
  const { far } = rig.fresh();
  far.write('answer');
  await turns();
  t.strictSame(rig.now.heard, STOP);
  t.equal(rig.heard.toString(), 'answer');
  await rig.finish();

  const two = new Rig();
  two.write(Buffer.concat([STOP, PING]));
  await turns();
  two.now.near.destroy(ended());
  await turns();
  t.match(two.error, { code: 'optimistic_open_failed' });
  t.equal(two.reopens, 0);
  await two.finish();
});

t.test('when the client has sent nothing yet, the stream is replaced without an error', async (t) => {
  const rig = new Rig({ answerMs: 5 });
  while (rig.give === undefined) await turns(1);
  t.equal(rig.failures[0]?.code, 'hello_timeout');
  const { far } = rig.fresh();
  rig.write(STOP);
  far.write('answer');
  await turns();
  t.equal(rig.heard.toString(), 'answer');
  t.strictSame(rig.now.heard, STOP);
  await rig.finish();
});

t.test('an inner stream that was closed before fails the optimistic stream asynchronously', async (t) => {
  for (const how of ['destroyed', 'closed', 'ended'] as const) {
    const [near, far] = duplexPair();
    near.on('error', () => undefined);
    if (how === 'ended') {
      far.end();
      near.resume();
      await once(near, 'end');
    } else near.destroy();
    if (how === 'closed') await once(near, 'close');
    const failures: Failure[] = [];
    let ends = 0;
    const stream = new OptimisticStream({
      inner: near,
      epoch: EPOCH,
      opening: helloOpening(EPOCH, GREETING, EXPECTED),
      label: 'prod',
      expected: EXPECTED,
      answerMs: 60_000,
      limitMs: 60_000,
      onConfirmed: () => t.fail('there was no answer'),
      onFailed: (failure) => failures.push(failure),
      reopen: () => {
        throw new Error('no second stream');
      },
      end: () => (ends += 1),
    });
    t.equal(failures.length, 0, how);
    const error = await new Promise<Failure>((resolve) => stream.on('error', resolve));
    t.equal(error.code, 'optimistic_open_failed', how);
    t.strictSame(
      error.data.causes.at(-1),
      'no second stream',
      `${how}: the error of reopen is among the causes`,
    );
    t.strictSame([failures.length, ends], [1, 1], how);
  }
});

t.test('reopen is aborted when the client destroys the stream', async (t) => {
  const rig = new Rig();
  rig.now.far.end();
  await turns();
  t.notOk(rig.aborted);
  rig.write(PING);
  rig.client.destroy();
  t.ok(rig.aborted);
  await rig.finish();
  t.equal(rig.lines.length, 2, 'the stream that reopen gave after that was ended');
});

t.test('an answer that is too long fails, and is not buffered', async (t) => {
  const rig = new Rig({ highWaterMark: 1_000_000 });
  rig.write(STOP);
  rig.now.far.write(encodeFrame(new Uint8Array(100_000)).subarray(0, 70_000));
  await turns();
  t.match(rig.error, {
    code: 'optimistic_open_failed',
    message: /a frame of 100000 bytes is over the limit of 65536/,
  });
  await rig.finish();
});

t.test('back-pressure works in both directions, before and after the answer', async (t) => {
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

t.test(
  'received bytes are not lost when the inner stream closes before the client has read them',
  async (t) => {
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
  },
);

t.test('received bytes can still be read after an error of the inner stream', async (t) => {
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

t.test('a write that waits for the first stream is finished by the new one', async (t) => {
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

t.test(
  'the inner stream is ended and read to its end when the client destroys the stream in a data event',
  async (t) => {
    const rig = new Rig();
    rig.client.once('data', () => rig.client.destroy());
    const { far, near } = rig.now;
    far.write(Buffer.concat([answer(), Buffer.alloc(5000)]));
    await turns();
    t.ok(far.readableEnded, 'the server gets the end');
    far.end();
    await turns();
    t.ok(near.readableEnded, 'the stream is read to the end');
    await rig.finish();
  },
);

t.test(
  'a write is finished when the inner stream has written its bytes, not when it has room for more',
  async (t) => {
    const taken: Buffer[] = [];
    // Reads the chunk later than it was given, as a busy socket does.
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
      opening: helloOpening(EPOCH, GREETING, EXPECTED),
      expected: EXPECTED,
      answerMs: 10_000,
      limitMs: 10_000,
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
      'all bytes',
      () => taken.reduce((sum, { length }) => sum + length, 0) === HELLO.length + total,
    );
    t.ok(Buffer.concat(taken).subarray(HELLO.length).equals(pattern(0, total)));
    inner.push(null);
    stream.destroy();
    await once(stream, 'close');
  },
);
