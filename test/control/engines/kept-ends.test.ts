// What engines have left of the ends of their streams is kept for some time.
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { EngineDirectory } from '../../../daemon/control/engines/engine-directory.ts';
import { holdTime } from '../../base/async/held-timers.ts';

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

t.test('the socket of an engine that is away is waited for, but not that of a dead one', async (t) => {
  // The path of a fixture is too long for a socket.
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(dir, { recursive: true }));
  const directory = new EngineDirectory({ dir });
  const path = (generation: string): string => join(dir, `${generation}.sock`);
  const asking = directory.endOf('a1-1');
  const engine = createServer((_, response) => response.end(JSON.stringify({ schema: 1, known: true })));
  await new Promise<void>((resolve) => engine.listen(path('a1'), resolve));
  t.teardown(() => engine.close());
  t.same(await asking, { schema: 1, known: true });

  // As a process that was killed leaves it.
  const leave = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', leave, path('b2')]);
  await directory.sweep();
  t.notOk((await readdir(dir)).includes('b2.sock'));
  holdTime(t);
  t.same(await directory.endOf('b2-1'), { schema: 1, known: true, lost: 'its engine has died' });
});
