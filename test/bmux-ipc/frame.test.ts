// Tests frames: chunking, limits, cost.
import t from 'tap';
import { encodeFrame, FrameReader, MAX_PAYLOAD_BYTES } from '../../daemon/bmux-ipc/frame.ts';
import { framesSurviveChunking } from './properties.ts';

t.test('frames survive chunking', async () => {
  framesSurviveChunking(200);
});

t.test('the limit is a legal length, one more is refused by its four bytes alone', async (t) => {
  const largest = new Uint8Array(MAX_PAYLOAD_BYTES);
  const reader = new FrameReader();
  reader.push(encodeFrame(largest));
  t.equal(reader.next()?.length, MAX_PAYLOAD_BYTES);
  t.throws(() => encodeFrame(new Uint8Array(MAX_PAYLOAD_BYTES + 1)), { code: 'frame_too_large' });
  const claim = Buffer.alloc(4);
  claim.writeUInt32LE(MAX_PAYLOAD_BYTES + 1);
  t.throws(() => reader.push(claim), { code: 'frame_too_large' });
  t.throws(() => new FrameReader().push(Buffer.from('GET / HTTP/1.1')), { code: 'frame_too_large' });
});

t.test('a length behind a complete frame is checked too', async (t) => {
  const reader = new FrameReader();
  reader.push(Buffer.concat([encodeFrame(Buffer.of(1)), Buffer.alloc(4, 0xff)]));
  t.ok(reader.next());
  t.throws(() => reader.next(), { code: 'frame_too_large' });
});

t.test('a large frame in tiny pieces costs in proportion to its size', async (t) => {
  const size = 2 * 1024 * 1024;
  const frame = encodeFrame(new Uint8Array(size));
  const before = process.memoryUsage();
  const reader = new FrameReader();
  for (let at = 0; at < frame.length - 3; at += 3) reader.push(frame.subarray(at, at + 3));
  const after = process.memoryUsage();
  // Quadratic copying would take minutes here; a list of chunks would take a hundred times the memory.
  t.ok(
    after.arrayBuffers - before.arrayBuffers < 12 * size,
    `${after.arrayBuffers - before.arrayBuffers} bytes`,
  );
  t.equal(reader.next(), undefined);
  reader.push(frame.subarray(-((frame.length - 1) % 3) - 1));
  t.ok(reader.rest().length >= size);
});

t.test('what is not consumed belongs to the next reader', async (t) => {
  const reader = new FrameReader();
  reader.push(Buffer.concat([encodeFrame(Buffer.from('one')), Buffer.from('05000000ab', 'hex')]));
  t.equal(Buffer.from(reader.next() ?? []).toString(), 'one');
  t.equal(reader.next(), undefined);
  t.equal(reader.rest().toString('hex'), '05000000ab');
  t.equal(reader.rest().length, 0);
});
