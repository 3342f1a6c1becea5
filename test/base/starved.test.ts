// Tests how a process that hangs is told from one that gets no CPU.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { cpuUseOf, isStarved } from '../../daemon/base/process/starved.ts';
import { halt, waitFor } from '../real/child.ts';

t.test('a process is starved when it wants to run and gets less than half of the time', (t) => {
  const before = { ms: 100, isRunnable: false };
  t.equal(isStarved(before, { ms: 200, isRunnable: true }, 1000), true);
  t.equal(isStarved(before, { ms: 1000, isRunnable: true }, 1000), false, 'it loops');
  t.equal(isStarved(before, { ms: 100, isRunnable: false }, 1000), false, 'it is stopped, or waits');
  t.equal(isStarved(undefined, { ms: 200, isRunnable: true }, 1000), false);
  t.equal(isStarved(before, undefined, 1000), false);
  t.end();
});

t.test('the kernel tells what a process has used', { skip: process.platform !== 'linux' }, async (t) => {
  const busy = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  t.teardown(() => busy.kill('SIGKILL'));
  await once(busy, 'spawn');
  const { pid } = busy;
  await waitFor('a loop to use time', () => {
    const use = cpuUseOf(pid);
    return use?.isRunnable === true && use.ms > 100;
  });
  await halt(pid ?? 0);
  t.match(cpuUseOf(pid), { isRunnable: false });
  busy.kill('SIGKILL');
  await once(busy, 'exit');
  t.equal(cpuUseOf(pid), undefined);
});
