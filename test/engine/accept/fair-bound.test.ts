// One key at its limit leaves room for the others.
import t from 'tap';
import { FairBound } from '../../../daemon/engine/accept/fair-bound.ts';

/** Counts requests of `key` until there is no room; the number of them. */
function fill(bound: FairBound, key: string): number {
  let count = 0;
  while (bound.take(key) !== undefined) count += 1;
  return count;
}

t.test('a key has at most its own limit, and room again when a request is over', async (t) => {
  const bound = new FairBound({ perKey: () => 2, total: 100 });
  const first = bound.take('a');
  t.ok(bound.take('a'));
  t.equal(bound.take('a'), undefined);
  t.ok(bound.take('b'), 'another key has room');
  first?.();
  first?.();
  t.equal(bound.count('a'), 1, 'a request is over once');
  t.ok(bound.take('a'));
  t.equal(bound.take('a'), undefined);
});

t.test('there is always room for a key that is new', async (t) => {
  const bound = new FairBound({ perKey: () => 256, total: 1000 });
  const counts = Array.from({ length: 9 }, (_, at) => fill(bound, `mute ${at}`));
  t.equal(counts[0], 256);
  for (const count of counts) t.ok(count > 0, counts.join(', '));
  t.ok(counts.reduce((sum, count) => sum + count) < 1000);
});
