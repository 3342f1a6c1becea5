// Tests when a wait counts as timed out.
import { once } from 'node:events';
import t from 'tap';
import { inTime } from '../../../daemon/base/async/deadline.ts';
import { startPairs } from '../../splice/pair.ts';

t.test('an answer that arrived while the event loop was blocked is in time', async (t) => {
  const pairs = await startPairs();
  t.teardown(() => pairs.close());
  const [far, near] = await pairs.pair();
  t.teardown(() => {
    far.destroy();
    near.destroy();
  });
  const answered = once(near, 'data');
  near.resume();
  const waiting = inTime(answered, 50, () => new Error('late'));
  far.write('answer');
  // The event loop is blocked until long after the deadline, while the answer is waiting to be read.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  t.equal(String((await waiting)[0]), 'answer');

  await t.rejects(
    inTime(once(near, 'data'), 50, () => new Error('late')),
    { message: 'late' },
  );
});
