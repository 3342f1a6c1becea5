// The memory for clients that do not read: small chunks cost their bytes, and all streams together have a bound.
import t from 'tap';
import { BufferBudget } from '../../daemon/splice/buffer-budget.ts';
import { ChunkQueue } from '../../daemon/splice/chunk-queue.ts';
import { pattern, PatternCheck } from '../embedded/traffic.ts';
import { waitFor } from '../real/child.ts';
import { check, send, startPairs, type Spliced } from './pair.ts';

t.test('a queue of small chunks costs its bytes, and gives them back in order', async (t) => {
  const queue = new ChunkQueue();
  const checked = new PatternCheck();
  const count = 200_000;
  for (let at = 0; at < count; at += 10) queue.push(pattern(at, 10));
  t.equal(queue.bytes, count);
  t.ok(queue.cost < count * 1.1, `${String(queue.cost)} bytes`);
  while (!queue.empty) {
    const chunks = queue.take(64 * 1024);
    t.ok(chunks.length <= 7, `${String(chunks.length)} chunks`);
    for (const chunk of chunks) checked.push(chunk);
    // What comes later does not go into memory that was taken.
    if (queue.bytes > 0 && queue.bytes < 60_000) queue.push(Buffer.alloc(0));
  }
  t.strictSame([checked.count, checked.badAt], [count, undefined]);
  t.strictSame([queue.bytes, queue.cost], [0, 0]);
});

t.test('a taken chunk is not written to by later ones', async (t) => {
  const queue = new ChunkQueue();
  for (const text of ['a', 'b', 'c']) queue.push(Buffer.from(text));
  const [, second] = queue.take(Infinity);
  queue.push(Buffer.from('x'));
  queue.push(Buffer.from('y'));
  t.equal(String(second), 'bc');
  t.equal(Buffer.concat(queue.take(Infinity)).toString(), 'xy');
});

t.test('clients that do not read share the bound, and go on when memory is free', async (t) => {
  const pairs = await startPairs();
  t.teardown(() => pairs.close());
  const total = 2 * 1024 * 1024;
  const budget = new BufferBudget(() => total);
  const all: Spliced[] = [];
  for (let at = 0; at < 12; at += 1)
    all.push(await pairs.spliced({ clientBufferLimit: 1024 * 1024, budget, endMs: 200 }));
  const each = 3 * 1024 * 1024;
  for (const { client, server } of all) {
    client.pause();
    void send(server, each);
  }
  let last = -1;
  await waitFor('nothing more to be read', async () => {
    const read = all.reduce((sum, { splice }) => sum + splice.bytesDown, 0);
    const same = read === last;
    last = read;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return same;
  });
  t.ok(budget.used <= total + all.length * 65_536, `${String(budget.used)} bytes are buffered`);
  t.ok(budget.used > total / 2, 'the memory is used');
  for (const { splice } of all) t.ok(splice.bytesDown > 0);
  const checks = all.map(({ client }) => check(client));
  for (const { client } of all) client.resume();
  await waitFor('all bytes to arrive', () => checks.every(({ count }) => count === each));
  for (const { badAt } of checks) t.equal(badAt, undefined);
  await waitFor('the memory to be free', () => budget.used === 0);
});
