// Tests reading the first frame of a client of a target socket: any chunking, both epochs, random bytes, silence.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { readFirstFrame } from '../../../daemon/engine/accept/first-frame.ts';
import { encodeFrame, MAX_PAYLOAD_BYTES } from '../../../daemon/bmux-ipc/frame.ts';
import {
  defaultContract,
  encodeEnvelope,
  encodeRequest,
  encodeRequestFrame,
} from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { firstFramesSurviveChunking, garbageIsNoHello } from './first-frame-properties.ts';
import { socketPairs } from '../socket-pairs.ts';

const pairs = await socketPairs();
t.teardown(() => pairs.close());

/** A time limit for the first frame that no test reaches, ms. */
const LONG_MS = 60_000;
const hello = (epoch: Epoch) => ({
  type: 'hello' as const,
  contract: defaultContract(epoch),
  clientName: 'c',
  principalId: '00112233-4455-6677-8899-aabbccddeeff',
});

t.test('first frames survive chunking', () => firstFramesSurviveChunking(100));
t.test('random bytes are not taken for a Hello', () => garbageIsNoHello(100));

t.test('a Hello in an envelope of another version is passed on to the server', async (t) => {
  for (const [version, epoch] of [
    [3, 4],
    [4, 3],
    [5, 4],
  ] as const) {
    const { client, accepted } = await pairs.open();
    const payload = encodeRequest(epoch, hello(epoch));
    const frame = encodeFrame(encodeEnvelope({ version, requestId: 1n, kind: 'request', payload }));
    client.write(frame);
    const first = await readFirstFrame(accepted, LONG_MS);
    t.match(first, { type: 'other', epoch: version === 5 ? undefined : version }, `version ${version}`);
    t.strictSame(first.type === 'other' ? first.bytes : undefined, frame);
  }
});

t.test('an answer is not taken for a request', async (t) => {
  const { client, accepted } = await pairs.open();
  const payload = encodeRequest(4, hello(4));
  client.write(encodeFrame(encodeEnvelope({ version: 4, requestId: 1n, kind: 'response', payload })));
  t.match(await readFirstFrame(accepted, LONG_MS), { type: 'other', epoch: 4 });
});

t.test('a frame of the maximum size is read; a longer one is refused by its length', async (t) => {
  const largest = await pairs.open();
  largest.client.write(encodeFrame(new Uint8Array(MAX_PAYLOAD_BYTES)));
  const first = await readFirstFrame(largest.accepted, LONG_MS);
  t.equal(first.type === 'other' ? first.bytes.length : 0, MAX_PAYLOAD_BYTES + 4);
  const { client, accepted } = await pairs.open();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(MAX_PAYLOAD_BYTES + 1);
  client.write(length);
  t.strictSame(await readFirstFrame(accepted, LONG_MS), { type: 'gone' });
});

t.test('a client that sends no whole frame within the time limit counts as gone', async (t) => {
  for (const bytes of [Buffer.alloc(0), encodeRequestFrame(4, 1n, hello(4)).subarray(0, -1)]) {
    const { client, accepted } = await pairs.open();
    client.write(bytes);
    const since = performance.now();
    t.strictSame(await readFirstFrame(accepted, 50), { type: 'gone' });
    t.ok(performance.now() - since >= 49);
    t.ok(accepted.isPaused());
    t.notOk(accepted.destroyed, 'the socket is left for the caller to close');
  }
});

t.test('a client that closes before its first frame counts as gone', async (t) => {
  const ways: Readonly<Record<string, (client: Socket, accepted: Socket) => void>> = {
    'the client ends its side': (client) => client.end(),
    'the client ends its side within a frame': (client) => client.end(Buffer.of(9, 0, 0, 0, 4)),
    'the client is destroyed': (client) => client.destroy(),
    'an error of the socket': (_, accepted) => accepted.destroy(new Error('ECONNRESET')),
  };
  for (const [way, go] of Object.entries(ways)) {
    const { client, accepted } = await pairs.open();
    const reading = readFirstFrame(accepted, LONG_MS);
    go(client, accepted);
    t.strictSame(await reading, { type: 'gone' }, way);
    client.destroy();
  }
  const { accepted } = await pairs.open();
  accepted.destroy();
  t.strictSame(
    await readFirstFrame(accepted, LONG_MS),
    { type: 'gone' },
    'the socket was destroyed just before',
  );
  await once(accepted, 'close');
  t.strictSame(await readFirstFrame(accepted, LONG_MS), { type: 'gone' }, 'the socket was closed before');
});

t.test(
  'an error after the first frame, while nobody listens on the socket, does not end the process',
  async (t) => {
    const { client, accepted } = await pairs.open();
    client.write(encodeRequestFrame(4, 1n, hello(4)));
    t.match(await readFirstFrame(accepted, LONG_MS), { type: 'hello', epoch: 4, requestId: 1n });
    accepted.destroy(new Error('ECONNRESET'));
    await new Promise((resolve) => accepted.once('close', resolve));
  },
);
