// Tests daemon/base/async/slices.ts: however many works run at once, each turn of the event loop has one slice.
import t from 'tap';
import { Slices } from '../../../daemon/base/async/slices.ts';

/** Longer than a slice, ms. */
const STEP_MS = 6;

t.test('works that run at once take turns', async (t) => {
  let turn = 0;
  let isOver = false;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  count();
  const turns: number[] = [];
  const work = async (): Promise<void> => {
    const slices = new Slices();
    for (let step = 0; step < 4; step += 1) {
      await slices.next();
      turns.push(turn);
      const until = performance.now() + STEP_MS;
      while (performance.now() < until);
    }
  };
  // The first one is in its slice when the others begin: a machine that stalls between two beginnings would let both begin at once.
  const first = work();
  await Promise.resolve();
  await Promise.all([first, ...Array.from({ length: 5 }, work)]);
  isOver = true;
  t.equal(turns.length, 24);
  t.equal(new Set(turns).size, turns.length, 'no turn has two slices');
});

t.test('a short work does not wait', async (t) => {
  // The work before has its turn to the end.
  await new Promise((resolve) => setImmediate(resolve));
  let hasTurned = false;
  setImmediate(() => {
    hasTurned = true;
  });
  const slices = new Slices();
  await slices.next();
  await slices.next();
  t.equal(hasTurned, false);
});

t.test('many works for one key do not delay the work for another', async (t) => {
  const begun: string[] = [];
  const work = async (key: string): Promise<void> => {
    await new Slices(key).next();
    begun.push(key);
    const until = performance.now() + STEP_MS;
    while (performance.now() < until);
  };
  const many = Array.from({ length: 8 }, () => work('many'));
  await Promise.all([...many, work('one'), work('another')]);
  t.equal(begun.length, 10);
  t.ok(begun.indexOf('one') <= 3, `one is among the first: ${begun.join(' ')}`);
  t.ok(begun.indexOf('another') <= 4, `another is among the first: ${begun.join(' ')}`);
});

t.test(
  'works that begin one after the other in one turn do not all begin in it, however long each takes',
  async (t) => {
    let turn = 0;
    let isOver = false;
    const count = (): void => {
      turn += 1;
      if (!isOver) setImmediate(count);
    };
    count();
    const turns: number[] = [];
    const works: Promise<void>[] = [];
    // The steps of one turn: each begins when the one before has taken its time.
    for (let work = 0; work < 6; work += 1) {
      works.push(
        new Slices().next().then(() => {
          turns.push(turn);
          const until = performance.now() + STEP_MS;
          while (performance.now() < until);
        }),
      );
      for (let tick = 0; tick < 4; tick += 1) await Promise.resolve();
    }
    await Promise.all(works);
    isOver = true;
    t.equal(new Set(turns).size, 6, 'no turn has two slices');
  },
);
