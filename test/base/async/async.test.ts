// Tests sleep, single flight, refresh, serial queue and waits with a limit.
import { getEventListeners } from 'node:events';
import t from 'tap';
import { settledWithin } from '../../../daemon/base/async/deadline.ts';
import { SerialQueue } from '../../../daemon/base/async/serial-queue.ts';
import { Refresh, SingleFlight } from '../../../daemon/base/async/single-flight.ts';
import { untilAborted, withEither } from '../../../daemon/base/async/until-aborted.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';

/** A promise with its resolve and reject functions. */
function deferred<T>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
} {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

t.test('an aborted signal ends a sleep', async (t) => {
  await sleep(1);
  const abort = new AbortController();
  const sleeping = sleep(60_000, abort.signal);
  abort.abort(new Error('enough'));
  await t.rejects(sleeping, { message: 'enough' });
  await t.rejects(sleep(60_000, abort.signal), { message: 'enough' }, 'a signal that was aborted before');
});

t.test('concurrent calls with one key share a run, and its result is not kept', async (t) => {
  const flights = new SingleFlight<string, number>();
  const first = deferred<number>();
  let runs = 0;
  const work = (): Promise<number> => {
    runs += 1;
    return first.promise;
  };
  const both = [flights.run('a', work), flights.run('a', work)];
  const other = flights.run('b', () => Promise.resolve(3));
  first.resolve(7);
  t.same(await Promise.all([...both, other]), [7, 7, 3]);
  t.equal(runs, 1);
  await t.rejects(
    flights.run('a', () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.equal(await flights.run('a', () => Promise.resolve(8)), 8, 'a failure is not kept');
});

t.test('all requests during a run of a refresh share one further run', async (t) => {
  const runs: ReturnType<typeof deferred<void>>[] = [];
  const refresh = new Refresh(() => {
    const run = deferred<void>();
    runs.push(run);
    return run.promise;
  });
  const first = refresh.request();
  const second = refresh.request();
  const third = refresh.request();
  t.equal(runs.length, 1);
  runs[0]?.reject(new Error('broken'));
  await t.rejects(first, { message: 'broken' });
  await sleep(1);
  t.equal(runs.length, 2, 'one run for both requests');
  runs[1]?.resolve();
  await Promise.all([second, third]);
  const fourth = refresh.request();
  t.equal(runs.length, 3);
  runs[2]?.resolve();
  await fourth;
});

t.test('a refresh that is requested when a run has just ended joins the next run', async (t) => {
  const runs: ReturnType<typeof deferred<void>>[] = [];
  const refresh = new Refresh(() => {
    const run = deferred<void>();
    runs.push(run);
    return run.promise;
  });
  const twice = refresh.request().then(() => refresh.request());
  const other = refresh.request();
  runs[0]?.resolve();
  await sleep(1);
  t.equal(runs.length, 2, 'one run for both requests');
  runs[1]?.resolve();
  await Promise.all([twice, other]);
  t.equal(runs.length, 2);
});

t.test('an aborted signal ends a wait', async (t) => {
  const never = new Promise<void>(() => undefined);
  const abort = new AbortController();
  const waiting = untilAborted(never, abort.signal);
  abort.abort(new Error('enough'));
  await t.rejects(waiting, { message: 'enough' });
  await t.rejects(
    untilAborted(never, abort.signal),
    { message: 'enough' },
    'a signal that was aborted before',
  );
  const { signal } = new AbortController();
  t.equal(await untilAborted(Promise.resolve(3), signal), 3);
  await t.rejects(untilAborted(Promise.reject(new Error('broken')), signal), { message: 'broken' });
});

t.test('work with either of two signals', async (t) => {
  const [one, two] = [new AbortController(), new AbortController()];
  const signals = [one.signal, two.signal];
  const listeners = (): number => signals.flatMap((signal) => getEventListeners(signal, 'abort')).length;
  t.equal(await withEither(signals, () => Promise.resolve(listeners())), 2);
  t.equal(listeners(), 0, 'nothing is left');
  const waiting = withEither(signals, (signal) => sleep(60_000, signal));
  two.abort(new Error('enough'));
  await t.rejects(waiting, { message: 'enough' });
  t.equal(listeners(), 0);
  await t.rejects(
    withEither(signals, (signal) => sleep(60_000, signal)),
    { message: 'enough' },
    'a signal that was aborted before',
  );
});

t.test('a serial queue runs its work in order, also after a failure', async (t) => {
  const queue = new SerialQueue();
  const done: string[] = [];
  const first = deferred<void>();
  const a = queue.run(async () => {
    await first.promise;
    done.push('a');
    throw new Error('a failed');
  });
  const b = queue.run(() => {
    done.push('b');
    return Promise.resolve(2);
  });
  await sleep(1);
  t.same(done, []);
  first.resolve();
  await t.rejects(a, { message: 'a failed' });
  t.equal(await b, 2);
  t.same(done, ['a', 'b']);
});

t.test('settledWithin tells whether a promise settles in time', async (t) => {
  t.equal(await settledWithin(Promise.resolve(), 1000), true);
  t.equal(await settledWithin(Promise.reject(new Error('broken')), 1000), true, 'a rejection counts, too');
  t.equal(await settledWithin(new Promise(() => undefined), 1), false);
});

t.test('a refresh gives each caller the result of a run that began after its call', async (t) => {
  let runs = 0;
  const refresh = new Refresh(async () => {
    const run = (runs += 1);
    await Promise.resolve();
    return run;
  });
  t.strictSame(await Promise.all([refresh.request(), refresh.request(), refresh.request()]), [1, 2, 2]);
});
