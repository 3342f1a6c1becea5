// What engines have left of the ends of their streams is kept for some time.
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { EngineDirectory } from '../../../daemon/control/engines/engine-directory.ts';

t.test('the ends of a former engine are forgotten when nobody has asked for long', async (t) => {
  const dir = t.testdir({ 'a.ends': '{}', 'b.ends': '{}' });
  const madeAt = (ms: number): Promise<void> => utimes(join(dir, 'a.ends'), ms / 1000, ms / 1000);
  const directory = new EngineDirectory({ dir });
  await madeAt(Date.now() - LIMITS.endsKeptMs + 60_000);
  await directory.sweep();
  t.strictSame((await readdir(dir)).sort(), ['a.ends', 'b.ends']);
  await madeAt(Date.now() - LIMITS.endsKeptMs - 1000);
  await directory.sweep();
  t.strictSame(await readdir(dir), ['b.ends']);
});
