// Tests that regular work of different intervals is done in common wake-ups.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { Ticks } from '../../../daemon/base/async/ticks.ts';
import { FakeClock } from './fake-clock.ts';

function rig(): { ticks: Ticks; clock: FakeClock; wakes: () => number } {
  const clock = new FakeClock();
  const start = clock.now();
  let wakes = 0;
  const ticks = new Ticks({
    now: () => clock.now() - start,
    after: (ms, run) =>
      clock.after(ms, () => {
        wakes += 1;
        run();
      }),
  });
  return { ticks, clock, wakes: () => wakes };
}

t.test('work that began at different times shares its wake-ups', async (t) => {
  const { ticks, clock, wakes } = rig();
  const times: number[] = [];
  for (const ms of [2000, 2000, 4000, 8000]) {
    ticks.every(ms, () => times.push(ms));
    await clock.advance(300);
  }
  await clock.advance(40_000);
  const before = wakes();
  times.length = 0;
  await clock.advance(40_000);
  t.equal(times.filter((ms) => ms === 2000).length, 40);
  t.equal(times.filter((ms) => ms === 4000).length, 10);
  t.equal(times.filter((ms) => ms === 8000).length, 5);
  t.equal(wakes() - before, 20, 'as many as the most frequent one needs');
});

t.test('the first call comes after half an interval to one and a half', async (t) => {
  for (const offset of [0, 900, 1000, 1999]) {
    const { ticks, clock } = rig();
    await clock.advance(offset);
    let at: number | undefined;
    const since = clock.now();
    ticks.every(2000, () => (at ??= clock.now() - since));
    await clock.advance(6000);
    t.ok(at !== undefined && at >= 1000 && at <= 3000, `${String(offset)}: ${String(at)}`);
  }
});

t.test('what has thrown does not stop the others, and is called again', async (t) => {
  const { ticks, clock } = rig();
  let thrown = 0;
  let others = 0;
  ticks.every(1000, () => {
    thrown += 1;
    if (thrown === 1) throw new Error('first');
  });
  ticks.every(1000, () => (others += 1));
  await t.rejects(clock.advance(1000), { message: 'first' });
  await clock.advance(4500);
  t.ok(thrown >= 4, String(thrown));
  t.ok(others >= 4, String(others));
});

t.test(
  'after a pause each is called once, and after the last has been stopped no timer is left',
  async (t) => {
    const { ticks, clock } = rig();
    let count = 0;
    const stop = ticks.every(1000, () => (count += 1));
    const stopOther = ticks.every(3000, () => undefined);
    await clock.advance(5500);
    count = 0;
    clock.jump(60_000);
    await clock.advance(600);
    t.equal(count, 1);
    stop();
    await clock.advance(10_000);
    t.equal(count, 1);
    stopOther();
    t.equal(clock.waiting, 0);
  },
);

t.test('work that is due soon is done by a process that is awake', async (t) => {
  const { ticks, clock, wakes } = rig();
  const times: number[] = [];
  ticks.shift(200);
  const stops = [2000, 4000].map((ms) => ticks.every(ms, () => times.push(ms)));
  for (let beat = 1; beat <= 8; beat += 1) {
    await clock.advance(beat === 1 ? 2005 : 2000);
    ticks.ahead(200);
  }
  t.equal(times.filter((ms) => ms === 2000).length, 8, 'each once');
  t.equal(times.filter((ms) => ms === 4000).length, 4);
  t.equal(wakes(), 0);
  ticks.ahead(200);
  t.equal(times.length, 12, 'what is done already is not due');
  await clock.advance(2200);
  t.equal(times.length, 13, 'without being called, it is done at its own time');
  t.equal(wakes(), 1);
  for (const stop of stops) stop();
  ticks.ahead(60_000);
  t.equal(times.length, 13);
});

t.test('a process that has done its work ahead sleeps until the next', async (t) => {
  const clockModule = new URL('../../../daemon/base/async/clock.js', import.meta.url).href;
  const program = `
    const { SYSTEM_CLOCK, workAhead } = await import(${JSON.stringify(clockModule)});
    const loops = () => performance.nodeTiming.uvMetricsInfo.loopCount;
    setInterval(() => undefined, 60_000);
    let calls = 0;
    let slept;
    SYSTEM_CLOCK.every(2000, () => {
      calls += 1;
      if (calls === 1) setTimeout(() => {
        workAhead(1500);
        setTimeout(() => { slept = loops(); }, 100);
      }, 1000);
      if (calls < 3) return;
      process.stdout.write(String(loops() - slept));
      process.exit();
    });`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    timeout: 60_000,
  });
  t.equal(stdout, '1', 'turns of its event loop');
});
