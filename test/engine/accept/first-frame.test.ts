// How a client of a target socket begins: any chunking, both epochs, nonsense, silence.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { readFirstFrame } from '../../../daemon/engine/accept/first-frame.ts';
import { encodeFrame, MAX_FRAME_BYTES } from '../../../daemon/bmux-ipc/frame.ts';
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

/** A server's patience that no test uses up, ms. */
const LONG_MS = 60_000;
const hello = (epoch: Epoch) => ({
  type: 'hello' as const,
  contract: defaultContract(epoch),
  clientName: 'c',
  principalId: '00112233-4455-6677-8899-aabbccddeeff',
});

t.test('first frames survive chunking', () => firstFramesSurviveChunking(100));
t.test('garbage is no Hello', () => garbageIsNoHello(100));

t.test('a Hello in an envelope of the other version is for the server to judge', async (t) => {
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

t.test('an answer is no request', async (t) => {
  const { client, accepted } = await pairs.open();
  const payload = encodeRequest(4, hello(4));
  client.write(encodeFrame(encodeEnvelope({ version: 4, requestId: 1n, kind: 'response', payload })));
  t.match(await readFirstFrame(accepted, LONG_MS), { type: 'other', epoch: 4 });
});

t.test('the largest frame is a frame; one more is refused by its length alone', async (t) => {
  const largest = await pairs.open();
  largest.client.write(encodeFrame(new Uint8Array(MAX_FRAME_BYTES)));
  const first = await readFirstFrame(largest.accepted, LONG_MS);
  t.equal(first.type === 'other' ? first.bytes.length : 0, MAX_FRAME_BYTES + 4);
  const { client, accepted } = await pairs.open();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(MAX_FRAME_BYTES + 1);
  client.write(length);
  t.strictSame(await readFirstFrame(accepted, LONG_MS), { type: 'gone' });
});

t.test('silence, and half a frame, are over when the time is', async (t) => {
  for (const bytes of [Buffer.alloc(0), encodeRequestFrame(4, 1n, hello(4)).subarray(0, -1)]) {
    const { client, accepted } = await pairs.open();
    client.write(bytes);
    const since = performance.now();
    t.strictSame(await readFirstFrame(accepted, 50), { type: 'gone' });
    t.ok(performance.now() - since >= 49);
    t.ok(accepted.isPaused());
    t.notOk(accepted.destroyed, 'its end is the business of the caller');
  }
});

t.test('a client that goes is gone, however it goes', async (t) => {
  const ways: Readonly<Record<string, (client: Socket, accepted: Socket) => void>> = {
    'it ends its side': (client) => client.end(),
    'half a frame and the end': (client) => client.end(Buffer.of(9, 0, 0, 0, 4)),
    'it is cut': (client) => client.destroy(),
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
  t.strictSame(await readFirstFrame(accepted, LONG_MS), { type: 'gone' }, 'before it was asked');
  await once(accepted, 'close');
  t.strictSame(await readFirstFrame(accepted, LONG_MS), { type: 'gone' }, 'long before');
});

t.test('an error between the first frame and the next owner ends nothing but the socket', async (t) => {
  const { client, accepted } = await pairs.open();
  client.write(encodeRequestFrame(4, 1n, hello(4)));
  t.match(await readFirstFrame(accepted, LONG_MS), { type: 'hello', epoch: 4, requestId: 1n });
  accepted.destroy(new Error('ECONNRESET'));
  await new Promise((resolve) => accepted.once('close', resolve));
});
