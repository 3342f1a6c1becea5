// Tests the process of the first engine that is started early: who gets it, and when it is ended.
import t from 'tap';
import { EarlyProcess } from '../../../daemon/control/engines/engine-process.ts';
import { FakeProcess } from './fake-process.ts';

t.test('it is given out once', (t) => {
  const child = new FakeProcess();
  let forks = 0;
  const early = new EarlyProcess(() => {
    forks += 1;
    return child.process;
  });
  t.equal(early.take(), undefined);
  early.start();
  early.start();
  t.equal(forks, 1, 'a second start does nothing');
  t.equal(early.take(), child.process);
  t.equal(early.take(), undefined);
  early.kill();
  t.equal(child.killed, false, 'it belongs to who has taken it');
  t.end();
});

t.test('it is killed when nobody has taken it', (t) => {
  const child = new FakeProcess();
  const early = new EarlyProcess(() => child.process);
  early.start();
  early.kill();
  t.equal(child.killed, true);
  t.equal(early.take(), undefined);
  t.end();
});

t.test('one that has ended, or cannot be started, is not given out', (t) => {
  const child = new FakeProcess();
  const ended = new EarlyProcess(() => child.process);
  ended.start();
  child.exits(1);
  t.equal(ended.take(), undefined);

  const unborn = new FakeProcess(undefined);
  const failing = new EarlyProcess(() => unborn.process);
  failing.start();
  unborn.emit('error', new Error('spawn ENOENT'));
  t.equal(failing.take(), undefined);

  const throwing = new EarlyProcess(() => {
    throw new Error('EAGAIN');
  });
  throwing.start();
  t.equal(throwing.take(), undefined);
  t.end();
});
