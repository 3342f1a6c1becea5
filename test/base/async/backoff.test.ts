// The pauses between attempts, with a random number that the test chooses.
import t from 'tap';
import { jittered, longestPause, pauseAfter } from '../../../daemon/base/async/backoff.ts';

const PAUSES = { firstMs: 2000, lastMs: 30_000 };

t.test('pauses double up to the last one', async (t) => {
  const pauses = [0, 1, 2, 3, 4, 5, 10_000].map((earlier) => pauseAfter(earlier, PAUSES, () => 0.5));
  t.strictSame(pauses, [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

t.test('each pause is spread by a fifth, the longest too', async (t) => {
  t.equal(
    pauseAfter(0, PAUSES, () => 0),
    1600,
  );
  t.equal(
    pauseAfter(0, PAUSES, () => 1),
    2400,
  );
  t.equal(
    pauseAfter(9, PAUSES, () => 0),
    24_000,
  );
  t.equal(
    pauseAfter(9, PAUSES, () => 1),
    longestPause(PAUSES),
  );
});

t.test('who has lost the same server at the same time comes back at different times', async (t) => {
  const all = new Set(Array.from({ length: 50 }, () => jittered(1000)));
  t.ok(all.size > 10);
  for (const ms of all) t.ok(ms >= 800 && ms <= 1200);
});
