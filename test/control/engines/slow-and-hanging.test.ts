// Tests the supervisor with engines that take long to get ready, and with engines that hang again and again.
import t from 'tap';
import type { EngineStatus } from '../../../daemon/api/answers.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { NoAnswer } from '../../../daemon/sockets/http-request.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { cpuUseOf } from '../../../daemon/base/process/starved.ts';
import { holdTime } from '../../base/async/held-timers.ts';
import { crowd, noCrowd } from '../../base/crowd.ts';
import { waitFor } from '../../real/child.ts';
import type { FakeProcess } from './fake-process.ts';
import { Rig } from './supervisor-rig.ts';

function statusWith(streams: number): EngineStatus {
  const engine = { generation: 'x', version: '1', pid: 1, state: 'serving', streams, sinceMs: 0 } as const;
  return { schema: 1, engine, upstreams: [] };
}

t.test(
  'a start that follows one that was late gets more time, and the status says why there is none',
  async (t) => {
    const [rig, timers] = [new Rig(), holdTime(t)];
    rig.supervisor.start();
    for (const [index, ms] of [10_000, 20_000, 40_000, 60_000, 60_000].entries()) {
      await timers.pass(ms - 50);
      t.equal(rig.last().killed, false, String(ms));
      await timers.pass(50);
      t.equal(rig.last().killed, true);
      rig.last().exits(null, 'SIGKILL');
      t.match(rig.supervisor.problem?.data, {
        detail: new RegExp(`was not ready ${String(ms / 1000)} s after its start`),
        remedy: /NODE_OPTIONS/,
      });
      await rig.clock.advance(30_000);
      t.equal(rig.processes.length, index + 2);
    }
    rig.last().says({ type: 'ready', generation: 'x' });
    t.equal(rig.supervisor.problem, undefined);
    rig.last().exits(1);
    await rig.clock.advance(30_000);
    await timers.pass(LIMITS.engineStartMs);
    t.equal(rig.last().killed, true, 'since then the usual time counts');
    rig.supervisor.close();
  },
);

t.test('a start that gets no CPU has its time, with a bound', { skip: noCrowd }, async (t) => {
  const [busy] = crowd(t);
  await waitFor('a process that wants to run', () => cpuUseOf(busy?.pid)?.isRunnable === true);
  const [rig, timers] = [new Rig(busy?.pid), holdTime(t)];
  rig.supervisor.start();
  t.equal(rig.supervisor.isSlow, false);
  await timers.pass(LIMITS.engineStartMs);
  t.equal(rig.supervisor.isSlow, true);
  await timers.pass(LIMITS.slowStartMs - LIMITS.engineStartMs - 50);
  t.equal(rig.last().killed, false);
  await timers.pass(50);
  t.equal(rig.last().killed, true);
  t.equal(rig.supervisor.isSlow, false);
  rig.supervisor.close();
});

t.test(
  'engines that hang one after the other are kept, with a bound: those with streams first',
  async (t) => {
    const rig = new Rig();
    rig.supervisor.start();
    rig.ask = () => Promise.reject(fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000)));
    const hang = async (streams: number): Promise<FakeProcess> => {
      const child = rig.last();
      child.says({ type: 'ready', generation: 'x' });
      child.says({ type: 'alive', status: statusWith(streams) });
      for (let look = 0; look < 2; look += 1) await rig.supervisor.look();
      while (rig.last() === child) await rig.clock.advance(100);
      return child;
    };
    const busy = await hang(1);
    const idle: FakeProcess[] = [];
    for (let count = 0; count < 8; count += 1) idle.push(await hang(0));
    const killed = (): boolean[] => idle.map((child) => child.killed);
    t.equal(busy.killed, false);
    t.same(killed(), [true, true, true, true, true, false, false, false]);
    t.match(rig.supervisor.crashes?.message, /replaced 9 times .*does not answer/);
    busy.says({ type: 'alive', status: statusWith(1) });
    await hang(0);
    t.same(killed(), [true, true, true, true, true, false, false, false], 'one that goes on does not count');
    for (let count = 0; count < 5; count += 1) await hang(2);
    t.equal(busy.killed, false);
    rig.supervisor.close();
  },
);

t.test(
  'engines that hang soon after their start are replaced less and less often, and it is told',
  async (t) => {
    const rig = new Rig();
    rig.supervisor.start();
    rig.ask = () => Promise.reject(fail('engine_unavailable', { why: 'late' }, new NoAnswer(1000)));
    const hang = async (): Promise<FakeProcess> => {
      const child = rig.last();
      child.says({ type: 'ready', generation: 'x' });
      for (let look = 0; look < 2; look += 1) await rig.supervisor.look();
      return child;
    };
    for (const [index, wait] of [0, 0, 2000, 5000, 15_000, 15_000].entries()) {
      await hang();
      await rig.clock.advance(wait - 1);
      if (wait > 0) t.equal(rig.processes.length, index + 1, `${wait} ms`);
      await rig.clock.advance(1);
      t.equal(rig.processes.length, index + 2);
    }
    const child = await hang();
    t.match(rig.supervisor.problem?.data, {
      code: 'engine_crashes',
      detail: /replaced 7 times .*does not answer/,
      remedy: /kill -STOP/,
    });
    child.says({ type: 'alive', status: statusWith(0) });
    await rig.clock.advance(0);
    t.equal(rig.processes.length, 8, 'at once when one of them goes on');
    rig.supervisor.close();
  },
);

t.test('an engine whose status is as before says only that it works', async (t) => {
  const rig = new Rig();
  rig.supervisor.start();
  rig.last().says({ type: 'ready', generation: 'x' });
  rig.last().says({ type: 'alive' });
  t.same(rig.statuses, [undefined], 'it has told none yet');
  const status = statusWith(3);
  rig.last().says({ type: 'alive', status });
  let asked = 0;
  rig.ask = () => {
    asked += 1;
    return Promise.resolve(statusWith(4));
  };
  // Control looks soon after the message.
  await rig.clock.advance(LIMITS.heartbeatMs - LIMITS.statusLateMs);
  rig.last().says({ type: 'alive' });
  for (let round = 0; round < 9; round += 1) {
    await rig.clock.advance(LIMITS.heartbeatMs);
    rig.last().says({ type: 'alive' });
  }
  t.equal(rig.statuses.filter((told) => told === status).length, 11);
  t.equal(asked, 0, 'it is not silent');
  rig.supervisor.close();
});
