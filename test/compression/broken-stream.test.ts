// A compressed stream whose peer ends or breaks: data that had arrived can still be read.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { drainAfterWriteError } from '../../daemon/base/streams/drain-after-write-error.ts';
import { compressed } from '../../daemon/compression/stream.ts';
import { encodeBlock } from '../../daemon/compression/zstd.ts';
import { Splice } from '../../daemon/splice/splice.ts';
import { socketPairs } from '../engine/socket-pairs.ts';
import { waitFor } from '../real/child.ts';
import { readAll } from '../transport/dialling.ts';

const pairs = await socketPairs();
t.teardown(() => pairs.close());

t.test('a peer that answers and closes while we still send', async (t) => {
  const { client: near, accepted: far } = await pairs.open();
  drainAfterWriteError(near, 60_000);
  const stream = compressed(near);
  const errors: string[] = [];
  stream.on('error', (error) => errors.push(error.message));
  far.write(encodeBlock(randomBytes(60_000)));
  far.write(encodeBlock(randomBytes(60_000)));
  far.destroySoon();
  await once(far, 'close');
  // More than can be written: the rest waits for a drain that never comes.
  for (let count = 0; count < 8; count += 1) stream.write(randomBytes(60_000));
  t.equal((await readAll(stream)).length, 120_000);
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, []);
});

for (const ends of [false, true])
  t.test(`a peer that breaks, and a slow reader who ${ends ? 'has ended' : 'still sends'}`, async (t) => {
    const { client: near, accepted: far } = await pairs.open();
    const { client, accepted } = await pairs.open();
    const stream = compressed(near);
    const splice = new Splice({ client: accepted, remote: stream, clientBufferLimit: 65_536 });
    const block = encodeBlock(Buffer.alloc(60_000));
    far.pause().write(Buffer.concat(Array.from({ length: 40 }, () => block)));
    accepted.resume();
    stream.resume();
    await waitFor('all to arrive', () => near.bytesRead === 40 * block.length);
    // Stops once a write is pending, so that an end can still be sent after it.
    while (near.writableLength === 0) {
      client.write(randomBytes(1000));
      await pause(1);
    }
    if (ends) client.end();
    else client.write('nobody takes it any more');
    await waitFor('it to be passed on', () => accepted.readableLength === 0 && near.writableEnded === ends);
    t.ok(splice.bytesDown < 40 * 60_000, 'the reader is slow');
    near.destroy(new Error('read ECONNRESET'));
    t.equal((await readAll(client)).length, 40 * 60_000);
    if (!ends) client.end();
    t.match(await splice.done, { reason: 'remote lost', why: 'read ECONNRESET' });
  });

t.test('a stream that is destroyed waits for no reader', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;
  const { client: near } = await pairs.open();
  const before = timers();
  const stream = compressed(near);
  const gone = new Promise<void>((resolve) => near.once('close', () => resolve()));
  stream.on('error', () => undefined).destroy(new Error('of its own'));
  await gone;
  t.equal(timers(), before);
});
