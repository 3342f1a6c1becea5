// The health check of a stream: it succeeds with one Pong, and with nothing else.
import { once } from 'node:events';
import { duplexPair, type Duplex } from 'node:stream';
import t from 'tap';
import { compressed } from '../../daemon/compression/stream.ts';
import { encodeBlock } from '../../daemon/compression/zstd.ts';
import { OptimisticStream } from '../../daemon/hello/optimistic.ts';
import { HealthCheck } from '../../daemon/hello/health-check.ts';
import { pingOpening } from '../../daemon/hello/expected-answer.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import {
  decodeEnvelope,
  decodeRequest,
  encodeRequestFrame,
  encodeResponseFrame,
} from '../../daemon/bmux-ipc/ipc.ts';

function pong(id: bigint): Buffer {
  return encodeResponseFrame(4, id, { type: 'pong' });
}

/** A stream to a server that calls `say` with the id of each Ping. */
function line(say: (id: bigint, far: Duplex) => void): { near: Duplex; ids: bigint[] } {
  const [near, far] = duplexPair();
  const reader = new FrameReader();
  const ids: bigint[] = [];
  near.on('error', () => undefined);
  far.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      const { requestId, payload } = decodeEnvelope(frame);
      if (decodeRequest(4, payload).type !== 'ping') throw new Error('no Ping');
      ids.push(requestId);
      say(requestId, far);
    }
  });
  return { near, ids };
}

const NAMES = ['data', 'end', 'close', 'error'] as const;

t.test('checks succeed with a Pong in pieces, and leave no listener', async (t) => {
  const { near, ids } = line((id, far) => {
    for (const byte of pong(id)) far.write(Buffer.of(byte));
  });
  const health = new HealthCheck(near, 4);
  const before = NAMES.map((name) => near.listenerCount(name));
  for (let turn = 0; turn < 50; turn += 1) t.ok((await health.check(10_000)) >= 0);
  t.equal(new Set(ids).size, 50);
  t.ok(ids.every((id) => id >= 2n ** 63n));
  t.strictSame(
    NAMES.map((name) => near.listenerCount(name)),
    before,
  );
});

t.test('a check fails when anything but the Pong comes', async (t) => {
  const ways: Readonly<Record<string, (id: bigint, far: Duplex) => void>> = {
    'another id': (id, far) => far.write(pong(id + 1n)),
    'another epoch': (id, far) => far.write(encodeResponseFrame(3, id, { type: 'pong' })),
    'another answer': (id, far) => far.write(encodeResponseFrame(4, id, { type: 'server_stopping' })),
    'a byte after it': (id, far) => far.write(Buffer.concat([pong(id), Buffer.of(0)])),
    'another chunk after it': (id, far) => {
      far.write(pong(id));
      far.write(Buffer.of(0));
    },
    'no frame': (_, far) => far.write(Buffer.alloc(8, 0xff)),
    'an end': (_, far) => far.end(),
    'an end after it': (id, far) => far.end(pong(id)),
    silence: () => undefined,
  };
  for (const [way, say] of Object.entries(ways)) {
    const { near } = line(say);
    await t.rejects(
      new HealthCheck(near, 4).check(way === 'silence' ? 20 : 10_000),
      { code: 'optimistic_open_failed' },
      way,
    );
  }
  const { near } = line(() => undefined);
  near.destroy();
  await t.rejects(
    new HealthCheck(near, 4).check(10_000),
    { code: 'optimistic_open_failed' },
    'destroyed before',
  );
});

t.test('release gives up the check, and the next owner reads its Pong', async (t) => {
  const { near, ids } = line(() => undefined);
  const health = new HealthCheck(near, 4);
  t.equal(health.release(), undefined, 'no check is under way');
  const before = NAMES.map((name) => near.listenerCount(name));
  const check = health.check(10_000);
  const pending = health.release();
  await t.rejects(check, { code: 'optimistic_open_failed' });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(pending?.requestId, ids[0]);
  t.strictSame(
    NAMES.map((name) => near.listenerCount(name)),
    before,
  );
});

t.test('release does not give up a check whose Pong is overdue', async (t) => {
  let answer: () => void = () => undefined;
  const { near } = line((id, far) => {
    answer = () => far.write(pong(id));
  });
  const health = new HealthCheck(near, 4);
  const check = health.check(60_000);
  await new Promise((resolve) => setTimeout(resolve, 150));
  t.equal(health.release(), undefined, 'the stream is probably dead');
  answer();
  await check;
});

t.test('a stream that is handed out during a check: the client reads what follows the Pong', async (t) => {
  const [near, far] = duplexPair();
  const heard: Buffer[] = [];
  far.on('data', (chunk: Buffer) => heard.push(chunk));
  const health = new HealthCheck(near, 4);
  const check = health.check(10_000);
  const pending = health.release();
  await t.rejects(check);
  if (pending === undefined) throw new Error('no Ping is under way');
  let confirmed = 0;
  const stream = new OptimisticStream({
    inner: near,
    epoch: 4,
    opening: pingOpening(4, pending),
    expected: { revision: 1, capabilities: [] },
    answerMs: 60_000,
    limitMs: 60_000,
    label: 'far',
    onConfirmed: () => (confirmed += 1),
    onFailed: (failure) => {
      t.fail(failure.message);
    },
    reopen: () => Promise.reject(new Error('not to be called')),
  });
  stream.write('question');
  far.write(Buffer.concat([pong(pending.requestId), Buffer.from('answer')]));
  const [answer] = (await once(stream, 'data')) as [Buffer];
  t.equal(answer.toString(), 'answer', 'the Pong is not passed on');
  t.equal(confirmed, 1);
  const ping = encodeRequestFrame(4, pending.requestId, { type: 'ping' });
  t.strictSame(Buffer.concat(heard), Buffer.concat([ping, Buffer.from('question')]), 'one Ping only');
  far.end();
  stream.destroy();
});

t.test('release does not give up a check when a part of its Pong was read', async (t) => {
  let rest: () => void = () => undefined;
  const { near } = line((id, far) => {
    const bytes = pong(id);
    far.write(bytes.subarray(0, 3));
    rest = () => far.write(bytes.subarray(3));
  });
  const health = new HealthCheck(near, 4);
  const check = health.check(10_000);
  await new Promise((resolve) => near.once('data', resolve));
  t.equal(health.release(), undefined);
  rest();
  const roundTripMs = await check;
  t.equal(health.roundTripMs, roundTripMs);
});

t.test('a check fails when the Pong and more bytes come as two chunks in one read', async (t) => {
  const [inner, far] = duplexPair();
  const near = compressed(inner);
  far.once('data', () => far.write(Buffer.concat([pong(2n ** 63n), Buffer.of(1, 2, 3)].map(encodeBlock))));
  await t.rejects(new HealthCheck(near, 4).check(10_000), { code: 'optimistic_open_failed' });
});
