// Tests the bounded map.
import t from 'tap';
import { LruMap } from '../../daemon/base/lru-map.ts';

t.test('the least recently used entry is evicted first', async (t) => {
  const gone: [string, number][] = [];
  const map = new LruMap<string, number>(2, (value, key) => gone.push([key, value]));
  map.set('a', 1);
  map.set('b', 2);
  t.equal(map.get('a'), 1, 'get counts as a use');
  map.set('c', 3);
  t.same(gone, [['b', 2]]);
  t.equal(map.peek('a'), 1, 'peek does not count as a use');
  map.set('d', 4);
  t.same(gone, [
    ['b', 2],
    ['a', 1],
  ]);
  map.set('c', 5);
  t.same(
    [...map],
    [
      ['d', 4],
      ['c', 5],
    ],
  );
  t.equal(map.delete('d'), true);
  t.equal(map.delete('d'), false);
  t.equal(map.size, 1);
  t.same([...map.keys()], ['c']);
  map.clear();
  t.equal(map.has('c'), false);
  t.equal(gone.length, 2, 'a deleted entry is not reported as evicted');
});

t.test('an entry that is in use is never evicted', async (t) => {
  const evicted: string[] = [];
  const inUse = new Set(['a', 'b', 'c']);
  const map = new LruMap<string, number>(
    2,
    (_value, key) => evicted.push(key),
    (_value, key) => inUse.has(key),
  );
  for (const [index, key] of ['a', 'b', 'c', 'd'].entries()) map.set(key, index);
  t.strictSame([...map.keys()], ['a', 'b', 'c', 'd'], 'entries in use may exceed the bound');
  inUse.delete('b');
  inUse.delete('c');
  map.set('e', 4);
  t.strictSame([...map.keys()], ['a', 'e']);
  t.strictSame(evicted, ['b', 'c', 'd']);
});
