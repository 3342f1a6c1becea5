// The bench itself: what it computes, what it says when something cannot be measured, and that a quick run of the real thing gives figures.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Bench, Skip, type Goal } from '../../bench/measure.ts';
import { markdown, type Result } from '../../bench/report.ts';
import { compare } from '../../bench/statistics.ts';
import { run } from '../real/server.ts';

t.setTimeout(240_000);

const MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));

t.test('values are compared turn by turn', async (t) => {
  // The machine was three times as slow in the last turn, for both.
  const { ours, peer, ratio, added } = compare([20, 22, 60], [10, 11, 30]);
  t.match(ours, { runs: 3, median: 22 });
  t.match(peer, { runs: 3, median: 11 });
  t.match(ratio, { p10: 2, median: 2, p90: 2 });
  t.equal(added.median, 11);
  t.equal(compare([1, 2], [1, 1]).ours.median, 1.5);
  t.match(compare([], []).ratio, { runs: 0, median: NaN });
});

t.test('subjects take turns, and what a part cannot do is a gap', async (t) => {
  const bench = new Bench({ measure: 'sample', quick: true, runs: undefined, say: () => undefined });
  const turns: string[] = [];
  const subject = (name: string, value: number) => ({
    name,
    once: async () => {
      turns.push(name);
      return value;
    },
  });
  const least: Goal = { text: '>= 3', met: ({ ours }) => ours.median >= 3 };
  const ends: string[] = [];
  const stop = (name: string) => ({ stop: async () => void ends.push(name) });
  await bench.part('all', async () => {
    bench.own('first', stop('first'));
    bench.own('second', stop('second'));
    await bench.compare('work', 'ms', bench.count(100, 2), [subject('a', 2), subject('b', 4)], {
      goals: { b: least },
    });
    await bench.part('inner', () => Promise.reject(new Skip('no such program')));
    await bench.part('other', () => Promise.reject(new Error('broken')));
  });
  t.equal(turns.join(''), 'ababab', 'one of them unrecorded');
  t.match(bench.figures, [{ compared: { ratio: { median: 0.5 } }, goal: { text: '>= 3', met: false } }]);
  t.match(bench.gaps, [
    { what: 'inner', kind: 'skipped', why: 'no such program' },
    { what: 'other', kind: 'failed', why: 'broken' },
  ]);
  t.strictSame(ends, ['second', 'first']);
});

t.test('a quick run', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-bench-test-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const json = join(folder, 'result.json');
  const env = { PATH: process.env['PATH'] ?? '' };
  const args = [MAIN, '--quick', '--runs', '1', '--only', 'stream-requests', '--json', json];
  const { status, stderr, stdout } = await run(process.execPath, args, env, 200_000);
  t.equal(status, 0, stderr);
  const result = JSON.parse(await readFile(json, 'utf8')) as Result;
  t.strictSame(result.gaps, []);
  const measured = new Set(result.figures.map(({ what }) => what));
  t.strictSame(
    measured,
    new Set([
      'streams socket, connect to first byte',
      'stream requests',
      'shim process, spawn to first byte',
    ]),
  );
  for (const { what, compared } of result.figures)
    t.ok(compared.ours.median > 0 && compared.peer.median > 0, what);
  t.ok(stdout.endsWith(markdown(result)), 'the table of RESULTS.md');
});

t.test('arguments that are wrong', async (t) => {
  const said = async (...args: string[]): Promise<string> => {
    const { status, stderr } = await run(process.execPath, [MAIN, ...args], {});
    return `${status} ${stderr.split('\n', 1)[0] ?? ''}`;
  };
  t.equal(await said('--only', 'nothing'), '2 bench: there is no measure nothing; --list shows them');
  t.equal(await said('--runs', '0'), '2 bench: --runs 0: expected a whole number');
});
