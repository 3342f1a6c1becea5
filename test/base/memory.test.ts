// Tests that an idle process returns the memory that earlier work has allocated.
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { SMALL_HEAP_FLAGS } from '../../daemon/base/process/memory.ts';
import { run } from '../real/server.ts';

t.setTimeout(300_000);

const HEAP = fileURLToPath(new URL('../../daemon/base/process/memory.js', import.meta.url));

/** Allocates until the new space has its full size, then waits until V8 has shrunk it. */
const PROGRAM = `
import { getHeapSpaceStatistics } from 'node:v8';
import { giveBackAtRest } from ${JSON.stringify(HEAP)};
const MB = 1024 * 1024;
const newSpace = () => getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size;
giveBackAtRest();
let kept = [];
for (let i = 0; newSpace() < 8 * MB; i += 1) {
  kept.push({ i });
  if (kept.length > 500_000) kept = [];
}
kept = [];
const until = performance.now() + 60_000;
const look = setInterval(() => {
  if (newSpace() > 4 * MB && performance.now() < until) return;
  console.log(newSpace() > 4 * MB ? 'kept' : 'returned');
  clearInterval(look);
}, 200);
`;

t.test('the new space shrinks after a burst of work', async (t) => {
  const { status, stdout, stderr } = await run(
    process.execPath,
    ['--max-semi-space-size=8', ...SMALL_HEAP_FLAGS, '--input-type=module', '-e', PROGRAM],
    {},
  );
  t.equal(stderr, '');
  t.equal(stdout, 'returned\n', 'the timer does not keep the process alive');
  t.equal(status, 0);
});
