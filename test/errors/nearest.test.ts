// Tests which names a misspelt word may mean.
import t from 'tap';
import { meant, nearest } from '../../daemon/errors/nearest.ts';

t.test('the nearest names come first', async (t) => {
  const names = ['status', 'streams', 'stop', 'start', 'env', 'exec', 'production'];
  const rows: [written: string, names: string[]][] = [
    ['strat', ['start']],
    ['Status', ['status']],
    ['staus', ['status', 'start']],
    ['prod', ['production']],
    ['evn', ['env']],
    ['p', []],
    ['', []],
    ['xxxx', []],
    ['x'.repeat(1000), []],
  ];
  for (const [written, expected] of rows) t.strictSame(nearest(written, names), expected, written);
  t.strictSame(nearest('ab', ['xy', 'x', 'cd']), [], 'a word with no letter in common is not near');
  t.strictSame(nearest('aa', ['ab', 'ac', 'ad', 'ae']).length, 3, 'at most three');
});

t.test('a suggestion ends a sentence', async (t) => {
  t.equal(meant('evn', ['env']), '; did you mean env?');
  t.equal(meant('aa', ['ab', 'ac', 'ad']), '; did you mean ab, ac or ad?');
  t.equal(meant('x', ['env']), '');
});
