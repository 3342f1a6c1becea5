// Tests daemon/cli/table.ts: columns, ages, sizes and shortened names.
import t from 'tap';
import {
  ago,
  bytes,
  cut,
  displayWidth,
  firstLine,
  roomOf,
  shortened,
  table,
} from '../../daemon/cli/table.ts';

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

t.test('wide and combining characters are counted as a terminal shows them', async (t) => {
  const rows: [text: string, width: number][] = [
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['🚀', 2],
    ['한', 2],
    ['Ａ', 2],
    ['', 0],
  ];
  for (const [text, width] of rows) t.equal(displayWidth(text), width, text);
  t.equal(cut('日本語', 5), '日本…');
  t.equal(cut('日本語', 6), '日本語');
  t.ok(displayWidth(shortened('日'.repeat(40))) <= 40);
  t.same(
    table(
      ['A', 'B'],
      [
        ['日本', 'x'],
        ['ab', 'y'],
      ],
    ),
    ['A     B', '日本  x', 'ab    y'],
  );
});

t.test('a table fits into the room: columns are left out first, then texts are cut', async (t) => {
  const columns = ['NAME', { name: 'LATER', drops: 2 }, { name: 'FIRST', drops: 1 }, 'WHY'];
  const rows = [['prod', 'l'.repeat(10), 'f'.repeat(10), 'w'.repeat(20)]];
  t.equal(table(columns, rows)[0], 'NAME  LATER       FIRST       WHY');
  t.equal(table(columns, rows, 50)[0], 'NAME  LATER       FIRST       WHY');
  t.equal(table(columns, rows, 49)[0], 'NAME  LATER       WHY');
  t.equal(table(columns, rows, 30)[0], 'NAME  WHY');
  t.same(table(columns, rows, 20), ['NAME  WHY', 'prod  wwwwwwwwwwwww…']);
  const late = ['NAME', { name: 'LATE', drops: 3, late: true as const }, 'WHY'];
  const long = [['n'.repeat(20), 'l'.repeat(20), 'w'.repeat(20)]];
  t.equal(table(late, long, 28)[0], 'NAME      LATE      WHY', 'texts are cut first');
  const heading = [{ name: 'WHEN IT ENDS', drops: 1, late: true as const }, 'WHY'];
  t.same(table(heading, [['5 s', 'w'.repeat(8)]], 22)[0], 'WHEN IT ENDS  WHY');
  t.same(table(heading, [['5 s', 'w'.repeat(8)]], 21)[0], 'WHY', 'a heading is not cut');
  t.same(table(['NAME', 'WHY'], [['n'.repeat(9), 'w'.repeat(9)]], 10), ['NAME  WHY', 'nnn…  www…']);
  t.same(table(late, long, 27), ['NAME          WHY', 'nnnnnnnnnnn…  wwwwwwwwwwww…']);
  t.equal(roomOf({}), Infinity, 'a pipe');
  t.equal(roomOf({ isTTY: true }), 80);
  t.equal(roomOf({ isTTY: true, columns: 120 }), 120);
});
