// Tests whose turn it is to read much from an iroh stream.
import t from 'tap';
import { nextTurn } from '../../../daemon/base/async/turn.ts';
import { LargeReads } from '../../../daemon/transport/iroh/large-reads.ts';
import { holdTimers } from '../../base/async/held-timers.ts';

/** Ends the microtasks that are due, in this turn of the event loop. */
async function settle(): Promise<void> {
  for (let count = 0; count < 10; count += 1) await Promise.resolve();
}

t.test('a stream alone never waits', async (t) => {
  const reads = new LargeReads();
  let isOver = false;
  setImmediate(() => (isOver = true));
  for (let count = 0; count < 100; count += 1) (await reads.next())();
  t.equal(isOver, false, 'all in one turn of the event loop');
});

t.test('of several, one goes on in each turn, in the order of their requests', async (t) => {
  const reads = new LargeReads();
  const order: string[] = [];
  const read = async (name: string): Promise<void> => {
    const end = await reads.next();
    order.push(name);
    end();
    end();
  };
  const all = Promise.all(['a', 'b', 'c'].map(read));
  await settle();
  t.strictSame(order, ['a']);
  await nextTurn();
  t.strictSame(order, ['a', 'b']);
  await all;
  t.strictSame(order, ['a', 'b', 'c']);
  await nextTurn();
  (await reads.next())();
});

t.test('one that brings nothing leaves its turn to the next', async (t) => {
  const reads = new LargeReads();
  const timers = holdTimers(t);
  const endFirst = await reads.next();
  let isNext = false;
  const next = reads.next().then((end) => {
    isNext = true;
    return end;
  });
  await timers.pass(19);
  t.equal(isNext, false);
  await timers.pass(1);
  await timers.until('the next one', () => isNext);
  endFirst();
  (await next)();
  (await reads.next())();
});
