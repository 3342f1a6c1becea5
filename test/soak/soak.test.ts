// The soaks without a daemon, with few inputs, and how a soak tells a failure or growth.
import t from 'tap';
import { Growth, MemoryGrew, residentMb } from './growth.ts';
import { runSoak } from './run.ts';
import { PURE_SOAKS } from './soaks.ts';
import { everySoakRuns } from './short.ts';

t.test('every soak without a daemon runs', (t) => everySoakRuns(t, PURE_SOAKS));

t.test('a failing input is told, and what was started is ended', async (t) => {
  let stopped = false;
  const run = (): Promise<void> => Promise.reject(new Error('seed 42'));
  const stop = (): Promise<void> => {
    stopped = true;
    return Promise.resolve();
  };
  const start = () => Promise.resolve({ run, pids: () => Promise.resolve([]), stop });
  await t.rejects(
    runSoak({ name: 'bad', inputs: 1, start }, 1, () => undefined),
    { message: 'seed 42' },
  );
  t.equal(stopped, true);
});

t.test('growth has a name, breathing has not', async (t) => {
  const breathing = new Growth('lung');
  for (let at = 0; at < 40; at += 1) breathing.add(at < 5 ? 40 + at * 10 : 100 + (at % 3) * 5);
  breathing.check();
  const growing = new Growth('leak');
  for (let at = 0; at < 40; at += 1) growing.add(100 + at * 4);
  t.throws(() => growing.check(), new MemoryGrew('leak grew from 160.0 to 240.0 MB'));
  t.equal(await residentMb(2 ** 30), undefined, 'nobody there');
});
