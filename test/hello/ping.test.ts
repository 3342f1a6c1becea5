// Proof that a stream is alive: one Pong and nothing else.
import { duplexPair, type Duplex } from 'node:stream';
import t from 'tap';
import { compressed } from '../../daemon/compression/stream.ts';
import { encodeBlock } from '../../daemon/compression/zstd.ts';
import { Prover } from '../../daemon/hello/ping.ts';
import { FrameReader } from '../../daemon/wire/frame.ts';
import { decodeEnvelope, decodeRequest, encodeResponseFrame } from '../../daemon/wire/ipc.ts';

function pong(id: bigint): Buffer {
  return encodeResponseFrame(4, id, { type: 'pong' });
}

/** A server that answers each Ping with what `say` makes of its id. */
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

t.test('a Pong in pieces proves it, again and again, and leaves nothing', async (t) => {
  const { near, ids } = line((id, far) => {
    for (const byte of pong(id)) far.write(Buffer.of(byte));
  });
  const prover = new Prover(near, 4);
  const before = NAMES.map((name) => near.listenerCount(name));
  for (let turn = 0; turn < 50; turn += 1) t.ok((await prover.prove(10_000)) >= 0);
  t.equal(new Set(ids).size, 50);
  t.ok(ids.every((id) => id >= 2n ** 63n));
  t.strictSame(
    NAMES.map((name) => near.listenerCount(name)),
    before,
  );
});

t.test('anything else is no proof', async (t) => {
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
      new Prover(near, 4).prove(way === 'silence' ? 20 : 10_000),
      { code: 'hello_promise_broken' },
      way,
    );
  }
  const { near } = line(() => undefined);
  near.destroy();
  await t.rejects(new Prover(near, 4).prove(10_000), { code: 'hello_promise_broken' }, 'dead before');
});

t.test('what one read makes two chunks of is one answer', async (t) => {
  const [inner, far] = duplexPair();
  const near = compressed(inner);
  far.once('data', () => far.write(Buffer.concat([pong(2n ** 63n), Buffer.of(1, 2, 3)].map(encodeBlock))));
  await t.rejects(new Prover(near, 4).prove(10_000), { code: 'hello_promise_broken' });
});
