// Programs of the system that are run for their output, also one that hangs.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { outputOf } from '../../daemon/base/process/output-of.ts';
import { isAlive, waitFor } from '../real/child.ts';

t.test('a program that hangs is killed at its limit, although it ignores SIGTERM', async (t) => {
  const folder = t.testdir({});
  const [program, file] = [join(folder, 'hung'), join(folder, 'pid')];
  writeFileSync(program, `#!/bin/sh\ntrap '' TERM\necho $$ > '${file}'\necho begun\nexec sleep 600\n`, {
    mode: 0o755,
  });
  const { stdout, error } = await outputOf(program, [], { ms: 2000 });
  t.equal(stdout, 'begun\n');
  t.match(error, { killed: true, signal: 'SIGKILL' });
  const pid = Number(readFileSync(file, 'utf8'));
  await waitFor('its end', () => !isAlive(pid));
});

t.test('one that works, fails, says too much, or is missing', async (t) => {
  const shell = (script: string) => outputOf('/bin/sh', ['-c', script], { ms: 60_000, maxBuffer: 100 });
  t.strictSame(await shell('echo well'), { stdout: 'well\n', error: null });
  t.match(await shell('echo ill; exit 3'), { stdout: 'ill\n', error: { code: 3 } });
  t.match(await shell('yes'), { error: { code: 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER' } });
  t.match(await outputOf('/nothing-here', [], { ms: 60_000 }), { stdout: '', error: { code: 'ENOENT' } });
});
