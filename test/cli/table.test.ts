// Tests daemon/cli/table.ts: columns, ages, sizes and shortened names.
import t from 'tap';
import { ago, bytes, firstLine, shortened, table } from '../../daemon/cli/table.ts';

t.test('long names are shortened in the middle and show no credentials', async (t) => {
  const id = 'a'.repeat(60);
  const url = `iroh://${id}?relay=https://me:secret@relay.example.com/&addr=127.0.0.1:7444`;
  t.equal(shortened(url).length, 40);
  t.match(shortened(url), /^iroh:\/\/a+….*7444$/);
  t.notMatch(shortened(url, 1000), /secret|me:/);
  t.equal(shortened('https://user:pw@host:1/x'), 'https://…@host:1/x');
  t.equal(shortened('user@host:22'), 'user@host:22');
  t.equal(shortened('prod'), 'prod');
  t.equal(shortened('a\u001b[2Jb'), 'a?[2Jb');
  t.equal(firstLine('one\ntwo'), 'one');
});

t.test('columns, ages and sizes are formatted', async (t) => {
  t.same(
    table(
      ['A', 'BB'],
      [
        ['long', ''],
        ['x', 'y'],
      ],
    ),
    ['A     BB', 'long', 'x     y'],
  );
  const now = 1_000_000_000;
  t.same(
    [0, 119_000, 120_000, 7_200_000, 172_800_000, -5000].map((ms) => ago(now - ms, now)),
    ['0 s', '119 s', '2 min', '2 h', '2 d', '0 s'],
  );
  t.same([0, 999, 1000, 3_400_000, 5e12, 5e16].map(bytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '3.4 MB',
    '5.0 TB',
    '50000.0 TB',
  ]);
});
