// Tests how a process that hangs is told from one that gets no CPU.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { cpuUseOf, isShortOfCpu, isStarved } from '../../daemon/base/process/starved.ts';
import { crowd, noCrowd } from './crowd.ts';
import { halt, waitFor } from '../real/child.ts';

t.test('a process is starved when it wants to run and gets less than half of the time', (t) => {
  const before = { ms: 100, waitedMs: 50, isRunnable: false };
  const isStarvedNow = (ms: number, waitedMs: number, isRunnable: boolean): boolean =>
    isStarved(before, { ms, waitedMs, isRunnable }, 1000);
  t.equal(isStarvedNow(200, 50, true), true);
  t.equal(isStarvedNow(1000, 50, true), false, 'it loops');
  t.equal(isStarvedNow(100, 50, false), false, 'it is stopped, or waits');
  t.equal(isStarvedNow(110, 650, false), true, 'it had its turn a moment ago');
  t.equal(isStarvedNow(110, 450, false), false, 'most of the time it had nothing to do');
  t.equal(isStarved(undefined, { ms: 200, waitedMs: 50, isRunnable: true }, 1000), false);
  t.equal(isStarved(before, undefined, 1000), false);
  t.end();
});

t.test('the kernel tells how long it has waited', { skip: noCrowd }, async (t) => {
  const [busy] = crowd(t);
  await waitFor('a wait', () => (cpuUseOf(busy?.pid)?.waitedMs ?? 0) > 50);
  t.pass();
});

t.test(
  'a process whose child gets no CPU is short of it, one that rests is not',
  { skip: noCrowd },
  async (t) => {
    const rests = spawn('sleep', ['600']);
    t.teardown(() => rests.kill('SIGKILL'));
    const [busy] = crowd(t);
    await waitFor('a lack', () => isShortOfCpu(busy?.pid) && isShortOfCpu(process.pid));
    await waitFor('one that rests since its start', () => !isShortOfCpu(rests.pid));
    t.equal(isShortOfCpu(undefined), false);
    await halt(busy?.pid ?? 0);
    t.equal(isShortOfCpu(busy?.pid), false, 'it is stopped');
  },
);

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
