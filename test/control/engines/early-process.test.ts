// Tests the process of the first engine that is started early: who gets it, and when it is ended.
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { bmuxdPaths } from '../../../daemon/base/paths.ts';
import { EarlyProcess, startEarly } from '../../../daemon/control/engines/engine-process.ts';
import { bindSocket } from '../../../daemon/sockets/bind.ts';
import { makeSandbox } from '../../daemon/bmuxd.ts';
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

t.test(
  'none is started early while the latest engine of a former daemon runs, unless that daemon serves, too',
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const { stateDir, enginesDir } = bmuxdPaths(sandbox.env);
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await mkdir(enginesDir, { recursive: true, mode: 0o700 });
    /** Whether a process is started, and whether one is when the runtime dir is there. */
    const isStarted = async (replaces: boolean): Promise<boolean> => {
      const early = await startEarly(sandbox.env, replaces);
      early.start();
      const process = early.take();
      process?.kill('SIGKILL');
      return process !== undefined;
    };
    t.equal(await isStarted(false), true);
    const [former, next] = [createServer(), createServer()];
    await bindSocket(former, join(enginesDir, 'mx1.sock'));
    t.equal(await isStarted(false), false);
    t.equal(await isStarted(true), true);
    await bindSocket(next, join(enginesDir, 'mx2.sock'));
    await new Promise((resolve) => next.close(resolve));
    t.equal(await isStarted(false), true, 'the latest one was killed: the other one only ends its streams');
    former.close();
  },
);
