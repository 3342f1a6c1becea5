// Spares with failures, drops and bounds, and after many cycles.
import t from 'tap';
import { settle } from '../base/async/fake-clock.ts';
import { anyCourseEndsWell } from './properties.ts';
import { SparesRig } from './rig.ts';

t.test('after failures there are pauses, which end when a stream is opened', async (t) => {
  const rig = new SparesRig();
  rig.max = 1;
  rig.fails = true;
  rig.spares.used(rig.factory(), 200, 50);
  for (let turn = 0; turn < 500; turn += 1) {
    await rig.clock.advance(200);
    await rig.take();
  }
  t.ok(rig.made <= 9, `${String(rig.made)} in 100 s`);
  const before = rig.made;
  rig.fails = false;
  rig.spares.used(rig.factory(), 200, 50);
  t.equal(rig.made, before + 1);
  rig.spares.close();
});

t.test('when the server closes each spare, there are pauses between spares', async (t) => {
  const rig = new SparesRig();
  rig.max = 1;
  await rig.warm();
  for (let turn = 0; turn < 600; turn += 1) {
    rig.lines.at(-1)?.far.end();
    await rig.clock.advance(100);
    if (turn % 50 === 0) await rig.take();
  }
  t.ok(rig.made <= 10, `${String(rig.made)} in 60 s`);
  rig.spares.close();
});

t.test('where making one takes the process some time, it is made after the first answer', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  const { made } = rig;
  const spares = rig.spares.count;
  rig.restMs = 60;
  t.ok((await rig.take()).line);
  await rig.clock.advance(40);
  t.ok((await rig.take()).line);
  t.equal(rig.made, made);
  await rig.clock.advance(20);
  t.ok(rig.made > made, 'the second use has not prolonged the rest');
  await rig.clock.advance(200);
  t.ok(rig.spares.count >= spares);
  const before = rig.made;
  for (let left = rig.spares.count; left > 0; left -= 1) t.ok((await rig.take()).line);
  t.equal(rig.made, before);
  const taking = rig.spares.take(rig.factory());
  await rig.clock.advance(0);
  t.ok(rig.made > before, 'a caller that finds none does not wait for the rest');
  await rig.clock.advance(300);
  await taking;
  t.ok((await rig.take()).line);
  rig.spares.close();
  t.equal(rig.clock.waiting, 0, 'no timer is left');
});

t.test('drop and close end all spares, also those that are being made', async (t) => {
  const rig = new SparesRig();
  await rig.warm('a');
  void rig.take('a');
  await settle();
  rig.spares.drop();
  t.equal(rig.spares.count, 0);
  await rig.clock.advance(1000);
  t.equal(rig.spares.count, 0);
  await rig.warm('b');
  t.equal(rig.spares.count, 2);
  const taken = rig.spares.take(rig.factory('b'));
  rig.clock.jump(20_000);
  const checking = rig.spares.take(rig.factory('b'));
  rig.spares.close();
  t.ok(await taken);
  t.equal(await Promise.race([checking, rig.clock.advance(1000).then(() => 'late')]), undefined);
  rig.spares.used(rig.factory('c'), 200, 50);
  await rig.clock.advance(1000);
  t.equal(rig.open, 2, 'the two that were handed out');
  t.equal(rig.clock.waiting, 0, 'no timer is left');
});

t.test('the number of keys is bounded', async (t) => {
  const rig = new SparesRig();
  rig.connections = 1000;
  rig.max = 1;
  for (let turn = 0; turn < 100; turn += 1) await rig.warm(String(turn));
  t.equal(rig.open, 64);
  t.equal((await rig.take('0')).line, undefined);
  t.ok((await rig.take('99')).line);
  rig.spares.close();
});

t.test('a thousand cycles leave no listener, no timer and no stream', async (t) => {
  const rig = new SparesRig();
  rig.max = 2;
  await rig.warm();
  const warnings: Error[] = [];
  const onWarning = (warning: Error): number => warnings.push(warning);
  process.on('warning', onWarning);
  t.teardown(() => process.off('warning', onWarning));
  for (let turn = 0; turn < 1000; turn += 1) {
    const line = await rig.spares.take(rig.factory());
    line?.stream.destroy();
    await rig.clock.advance(101);
  }
  t.ok(rig.lines.length > 500);
  // Many checks of the same stream.
  rig.ttlMs = Infinity;
  const made = rig.made;
  await rig.clock.advance(1_000_000);
  t.equal(rig.made, made);
  for (const { stream } of rig.lines.filter((line) => !line.stream.destroyed))
    t.ok(stream.listenerCount('data') === 1 && stream.listenerCount('error') === 2);
  rig.spares.close();
  await rig.clock.advance(1000);
  t.equal(rig.open, 0);
  t.equal(rig.clock.waiting, 0);
  t.strictSame(warnings, []);
});

t.test('any course of events: each caller gets a live spare that no other has, and all are ended', () =>
  anyCourseEndsWell(150),
);

t.test('pools that have lost the same server come back at different times', async (t) => {
  for (const [random, ms] of [
    [0, 1600],
    [1, 2400],
  ] as const) {
    const rig = new SparesRig();
    rig.random = random;
    rig.max = 1;
    rig.makeMs = 0;
    rig.fails = true;
    rig.spares.used(rig.factory(), 200, 50);
    await rig.clock.advance(1);
    t.equal(rig.made, 1);
    rig.makeMs = 200;
    let waited = 0;
    for (; rig.made === 1 && waited < 10_000; waited += 100) await rig.clock.advance(100);
    // The pool looks every two seconds.
    t.equal(Math.ceil(ms / 2000) * 2000, Math.round(waited / 1000) * 1000, `${String(waited)} ms`);
    rig.spares.close();
  }
});

t.test('what is being made counts as held', async (t) => {
  const rig = new SparesRig();
  rig.spares.used(rig.factory(), rig.makeMs, rig.roundTripMs);
  t.equal(rig.spares.held, 2);
  t.equal(rig.spares.count, 0);
  await rig.clock.advance(rig.makeMs + 1);
  t.equal(rig.spares.held, 2);
  t.equal(rig.spares.count, 2);
  rig.spares.close();
});

t.test('fewer are wanted while some are made: the surplus is ended at once', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  t.equal(rig.spares.count, 2);
  await rig.take();
  t.ok(rig.making > 0);
  rig.max = 1;
  await rig.clock.advance(rig.makeMs + 1);
  t.equal(rig.making, 0);
  t.equal(rig.spares.count, 1);
  rig.spares.close();
});
