// Tests the supervisor of engines with fake processes and a fake clock: starts, ends, hangs, and processes that cannot be started.
import t from 'tap';
import { fail } from '../../../daemon/errors/fail.ts';
import { NoAnswer } from '../../../daemon/sockets/http-request.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { Ticks } from '../../../daemon/base/async/ticks.ts';
import { EngineHealth } from '../../../daemon/control/engines/engine-health.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import { FIRST_PID } from './fake-process.ts';
import { Rig } from './supervisor-rig.ts';

t.test('an engine gets its start data first, and is current when it is ready', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  const child = rig.last();
  t.match(child.sent[0]?.message, { type: 'start', start: { socketPath: '/e' } });
  t.equal(rig.supervisor.ready, false);
  t.equal(rig.supervisor.problem, undefined, 'a start is no failure');
  child.says({ type: 'ready', generation: 'x' });
  t.equal(rig.supervisor.current?.pid, FIRST_PID);
  t.equal(rig.supervisor.problem, undefined);
  t.equal(rig.ready.length, 1);
  rig.supervisor.close();
  t.equal(child.released, true);
  t.equal(child.killed, false);
});

t.test('a process that was started early is the first engine', async (t) => {
  const rig = new Rig();
  rig.early.start();
  rig.supervisor.start();
  t.equal(rig.processes.length, 1);
  t.match(rig.last().sent[0]?.message, { type: 'start' });
  rig.supervisor.close();
});

t.test('an engine that is not ready in time, or when control leaves, is killed: it may hang', async (t) => {
  const [rig, leaving, timers] = [new Rig(), new Rig(), holdTimers(t)];
  leaving.supervisor.start();
  leaving.supervisor.close();
  t.equal(leaving.last().killed, true);
  rig.supervisor.start();
  await timers.pass(LIMITS.engineStartMs - 1);
  t.equal(rig.last().killed, false);
  await timers.pass(1);
  t.equal(rig.last().killed, true);
});

t.test('an engine that ends is replaced, at once when it had been ready', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  await rig.clock.advance(60_000);
  rig.last().exits(null, 'SIGKILL');
  t.same(rig.gone, ['SIGKILL']);
  t.match(rig.supervisor.problem?.message, /ended with SIGKILL/);
  t.same(rig.supervisor.problem?.data.causes, ['out of luck'], 'its last stderr output');
  await rig.clock.advance(0);
  t.equal(rig.processes.length, 2, 'the next one starts at once');
  t.same(rig.failedStarts, [], 'that one had started');
  // The next ones end before they are ready, so the wait grows.
  for (const [index, wait] of [0, 100, 300, 500, 2000, 5000, 15_000, 30_000, 30_000].entries()) {
    rig.last().exits(1);
    await rig.clock.advance(wait - 1);
    if (wait > 0) t.equal(rig.processes.length, index + 2, `${wait} ms`);
    await rig.clock.advance(1);
    t.equal(rig.processes.length, index + 3);
  }
  rig.supervisor.close();
});

t.test('engines that end soon after their start are told, also while the next one is ready', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  for (const [index, wait] of [0, 100, 200, 250, 250].entries()) {
    rig.last().says({ type: 'ready', generation: 'x' });
    if (index < 3) t.equal(rig.supervisor.crashes, undefined);
    rig.last().exits(null, 'SIGABRT');
    await rig.clock.advance(wait);
    t.equal(rig.processes.length, index + 2, 'never later than a second');
  }
  rig.last().says({ type: 'ready', generation: 'x' });
  t.match(rig.supervisor.crashes?.message, /replaced 5 times .* SIGABRT/);
  await rig.clock.advance(10_001);
  t.equal(rig.supervisor.crashes, undefined, 'this one lives');
  rig.supervisor.close();
});

t.test('while the runtime dir is away no engine is asked or started', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  rig.runtimeDir.isAway = true;
  rig.ask = () => Promise.reject(new Error('ENOENT'));
  for (let look = 0; look < 10; look += 1) await rig.supervisor.look();
  t.equal(rig.supervisor.ready, true, 'an engine that nobody can ask is no broken one');
  rig.last().exits(null, 'SIGKILL');
  await rig.clock.advance(60_000);
  t.equal(rig.processes.length, 1);
  rig.runtimeDir.isAway = false;
  await rig.clock.advance(250);
  t.equal(rig.processes.length, 2, 'soon after its return');
  rig.supervisor.close();
});

t.test('while the package on the disk is another one, no engine is started', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  rig.refusal = fail('restart_due', { installed: '0.2.0', running: '0.1.0' });
  rig.last().exits(null, 'SIGKILL');
  await rig.clock.advance(60_000);
  t.equal(rig.processes.length, 1);
  t.equal(rig.supervisor.problem?.code, 'restart_due');
  rig.refusal = undefined;
  await rig.clock.advance(250);
  t.equal(rig.processes.length, 2);
  rig.supervisor.close();
});

t.test('what an engine says before it ends reaches the status with a remedy', async (t) => {
  const rig = new Rig();
  rig.stderr =
    "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module 'zod'\n    at x\n\nNode.js v20.0.0";
  rig.supervisor.start();
  rig.last().exits(1);
  t.same(rig.failedStarts, [rig.stderr]);
  const { causes, remedy } = rig.supervisor.problem?.data ?? {};
  t.same(causes, ["Error: Cannot find module 'zod'"], 'the line with the reason');
  t.match(remedy, /Install bmuxd again/);
  rig.supervisor.close();
});

t.test('a process that cannot be started is a problem with reason, remedy and backoff', async (t) => {
  const rig = new Rig();
  rig.broken.push(new Error('spawn E2BIG'), new Error('spawn ENOMEM'));
  rig.supervisor.start();
  const problem = rig.supervisor.problem;
  t.match(problem?.data, { code: 'engine_unstartable', detail: /spawn E2BIG/, remedy: /\w/ });
  await rig.clock.advance(0);
  t.match(rig.supervisor.problem?.message, /ENOMEM/, 'the second start fails too');
  await rig.clock.advance(99);
  t.equal(rig.processes.length, 0);
  await rig.clock.advance(1);
  rig.last().says({ type: 'ready', generation: 'x' });
  t.equal(rig.supervisor.ready, true, 'the third start succeeds');
  rig.supervisor.close();
});

t.test('a start that fails only later, because Node has been removed, is tried again', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  const child = rig.last();
  child.pid = undefined;
  child.emit('error', new Error('spawn /usr/bin/node ENOENT'));
  t.match(rig.supervisor.problem?.message, /ended with spawn|cannot be started/);
  await rig.clock.advance(0);
  t.equal(rig.processes.length, 2, 'started again');
  rig.supervisor.close();
});

t.test(
  'an engine that does not answer twice is retired: it drains, and another one takes over',
  async (t) => {
    const rig = new Rig();
    rig.supervisor.start();
    rig.last().says({ type: 'ready', generation: 'x' });
    const first = rig.last();
    rig.ask = () => Promise.reject(fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000)));
    await rig.supervisor.look();
    t.equal(rig.supervisor.ready, true, 'one missing answer is allowed');
    await rig.supervisor.look();
    t.equal(rig.supervisor.ready, false);
    t.equal(first.told('drain').length, 1);
    t.equal(first.killed, false, 'its streams go on');
    await rig.clock.advance(0);
    rig.last().says({ type: 'ready', generation: 'y' });
    t.equal(rig.supervisor.current?.pid, FIRST_PID + 1);
    t.same(rig.supervisor.living.length, 2);
    first.exits(0);
    t.same(rig.supervisor.living.length, 1);
    t.equal(rig.supervisor.current?.pid, FIRST_PID + 1, 'the end of a retired engine starts no other one');
    t.equal(rig.processes.length, 2);
    rig.supervisor.close();
  },
);

t.test('an engine that says something during each check is slow, and stays', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  let isMute = false;
  rig.ask = () => {
    if (!isMute) rig.last().says({ type: 'log', line: 'a line\n' });
    return Promise.reject(fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000)));
  };
  for (let look = 0; look < 5; look += 1) await rig.supervisor.look();
  t.equal(rig.supervisor.ready, true);
  isMute = true;
  await rig.supervisor.look();
  t.equal(rig.supervisor.ready, true, 'one missing answer is allowed');
  await rig.supervisor.look();
  t.equal(rig.supervisor.ready, false);
  rig.supervisor.close();
});

t.test('an engine that hangs is replaced within 5 s, wherever its time falls', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  // Right after its status: the next one is missed in 2 s, and each check takes a second to fail.
  await rig.clock.advance(1800);
  rig.last().says({ type: 'alive', status: {} });
  rig.ask = () =>
    new Promise((_, reject) => {
      rig.clock.after(1000, () => {
        reject(fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000)));
      });
    });
  await rig.clock.advance(4400);
  t.equal(rig.supervisor.ready, true);
  await rig.clock.advance(100);
  t.equal(rig.supervisor.ready, false);
  rig.supervisor.halt();
  await rig.clock.advance(10_000);
  t.equal(rig.clock.waiting, 0, 'no timer is left');
});

t.test('a missing socket is allowed for longer, and an answer resets the count', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  const missing = (): Promise<unknown> => Promise.reject(new Error('connect ENOENT'));
  rig.ask = missing;
  for (let look = 0; look < 4; look += 1) await rig.supervisor.look();
  rig.ask = () => Promise.resolve({});
  await rig.supervisor.look();
  rig.ask = missing;
  for (let look = 0; look < 4; look += 1) await rig.supervisor.look();
  t.equal(rig.supervisor.ready, true);
  await rig.supervisor.look();
  t.equal(rig.supervisor.ready, false);
  rig.supervisor.close();
});

t.test('after halt no engine is started', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  rig.supervisor.halt();
  rig.supervisor.stop('bmuxd stop');
  t.match(rig.last().told('stop'), [{ who: 'bmuxd stop' }]);
  rig.last().exits(0);
  await rig.clock.advance(60_000);
  t.equal(rig.processes.length, 1);
  t.equal(rig.clock.waiting, 0, 'no timer is left');
});

t.test('control looks at a status when it has had time to come, and soon when it does not', async (t) => {
  const clock = new FakeClock();
  const ticksOf = (ms: number): Ticks => {
    const ticks = new Ticks({ now: () => clock.now(), after: (wait, run) => clock.after(wait, run) });
    ticks.shift(ms);
    return ticks;
  };
  const health = new EngineHealth(clock.now());
  let isMute = false;
  let saidAt = 0;
  ticksOf(0).every(LIMITS.heartbeatMs, () => {
    saidAt = clock.now();
    // It arrives some time later on a busy machine.
    if (!isMute) clock.after(LIMITS.statusLateMs / 2, () => health.heard(clock.now()));
  });
  let lateMs: number | undefined;
  ticksOf(LIMITS.statusLateMs).every(LIMITS.heartbeatMs, () => {
    if (health.isDue(clock.now())) lateMs ??= clock.now() - saidAt;
  });
  await clock.advance(8 * LIMITS.heartbeatMs);
  t.equal(lateMs, undefined);
  isMute = true;
  await clock.advance(2 * LIMITS.heartbeatMs);
  t.equal(lateMs, LIMITS.statusLateMs);
});

t.test('what an engine uses is read only while it is in doubt: its last check has failed', (t) => {
  const health = new EngineHealth(0);
  const late = fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000));
  const miss = (isAtWork: boolean): boolean => health.failed(late, isAtWork).isLost;
  t.equal(health.isDoubtful, false);
  t.equal(miss(false), false);
  t.equal(health.isDoubtful, true);
  t.equal(miss(true), false, 'it got no CPU');
  t.equal(health.isDoubtful, false);
  t.equal(miss(false), false, 'the next one alone tells nothing');
  t.equal(miss(false), true);
  health.heard(1);
  t.equal(health.isDoubtful, false);
  t.end();
});
