// Tests when attempts begin and end while something is waited for.
import t from 'tap';
import { Attempts } from '../../../daemon/cli/attach/attempts.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

interface Attempt {
  readonly atMs: number;
  readonly signal: AbortSignal;
  readonly succeed: () => void;
  readonly fail: () => void;
}

function start(delayMs = 0) {
  const clock = new FakeClock();
  const startMs = clock.now();
  const begun: Attempt[] = [];
  const failures: unknown[] = [];
  const attempts = new Attempts<number>({
    clock,
    delayMs,
    attempt: (signal) =>
      new Promise((resolve, reject) => {
        const number = begun.length;
        const onAbort = (): void => {
          reject(new Error('aborted'));
        };
        signal.addEventListener('abort', onAbort);
        begun.push({
          atMs: clock.now() - startMs,
          signal,
          succeed: () => {
            resolve(number);
          },
          fail: () => {
            reject(new Error(`failure ${String(number)}`));
          },
        });
      }),
    onFailure: (error) => failures.push(error),
  });
  return { clock, begun, failures, attempts };
}

t.test('a hanging attempt is accompanied by one that is replaced every second', async (t) => {
  const { clock, begun, failures, attempts } = start(500);
  await clock.advance(3600);
  t.same(
    begun.map(({ atMs }) => atMs),
    [500, 1500, 2500, 3500],
  );
  t.same(
    begun.map(({ signal }) => signal.aborted),
    [false, true, true, false],
  );
  begun[3]?.succeed();
  t.equal(await attempts.done, 3);
  t.equal(begun[0]?.signal.aborted, true, 'the others are ended');
  t.same(failures, [], 'attempts that were replaced have not failed');
  t.equal(clock.waiting, 0);
});

t.test('attempts that fail are a second apart, a person may have one at once', async (t) => {
  const { clock, begun, failures, attempts } = start();
  await clock.advance(0);
  begun[0]?.fail();
  await clock.advance(400);
  t.equal(begun.length, 1);
  attempts.now();
  t.equal(begun.length, 2);
  begun[1]?.fail();
  await clock.advance(999);
  t.equal(begun.length, 2);
  await clock.advance(1);
  t.same(
    begun.map(({ atMs }) => atMs),
    [0, 400, 1400],
  );
  t.match(failures, [{ message: 'failure 0' }, { message: 'failure 1' }]);
  attempts.end(new Error('given up'));
  await t.rejects(attempts.done, { message: 'given up' });
  t.equal(begun[2]?.signal.aborted, true);
  attempts.now();
  await clock.advance(5000);
  t.equal(begun.length, 3, 'none begins after the end');
  t.equal(clock.waiting, 0);
});
