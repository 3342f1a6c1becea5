// Tests when an unused daemon exits.
import pino from 'pino';
import t from 'tap';
import { IdleExit, type IdleExitOptions } from '../../daemon/control/service/idle-exit.ts';
import { FakeClock } from '../base/async/fake-clock.ts';

type Upstreams = Awaited<ReturnType<IdleExitOptions['engines']['directory']['survey']>>['upstreams'];

/** A daemon that nobody uses, with `idle_exit = 60`. */
function unused() {
  const clock = new FakeClock();
  const state = {
    idle_exit: 60 as number | 'none',
    targets: {} as Record<string, { warm?: boolean }>,
    listens: true,
    takesEnginesAlong: false,
    listeners: 0,
    streams: 0,
    upstreams: [] as Upstreams,
    isSilent: false,
    exits: 0,
  };
  const idle = new IdleExit({
    settings: () => state,
    manager: state,
    get takesEnginesAlong() {
      return state.takesEnginesAlong;
    },
    engines: {
      directory: {
        survey: () =>
          state.isSilent
            ? Promise.reject(new Error('silent'))
            : Promise.resolve({ engines: [{ streams: state.streams }], upstreams: state.upstreams }),
      },
    },
    events: state,
    log: pino({ enabled: false }),
    leave: () => {
      state.exits += 1;
      return Promise.resolve();
    },
    clock,
  });
  /** Advances by looks of 10 s. */
  const exitsAfter = async (looks: number): Promise<number> => {
    for (let look = 0; look < looks; look += 1) await clock.advance(10_000);
    return state.exits;
  };
  return { idle, state, clock, exitsAfter };
}

t.test('an unused daemon exits once, after its time', async (t) => {
  const { exitsAfter, clock } = unused();
  t.equal(await exitsAfter(5), 0);
  t.equal(await exitsAfter(1), 1);
  t.equal(await exitsAfter(20), 1);
  t.equal(clock.waiting, 0, 'no timer is left');
});

t.test('each use begins the time anew', async (t) => {
  const { state, exitsAfter } = unused();
  await exitsAfter(5);
  state.streams = 1;
  t.equal(await exitsAfter(10), 0, 'a live stream');
  state.streams = 0;
  t.equal(await exitsAfter(5), 0);
  state.listeners = 1;
  t.equal(await exitsAfter(10), 0, 'somebody follows the events');
  state.listeners = 0;
  t.equal(await exitsAfter(5), 0);
  state.upstreams = [{ lastStreamMs: 1000 }];
  t.equal(await exitsAfter(6), 0, 'a stream that is over');
  state.upstreams = [
    { lastStreamMs: 1000, lastError: { code: 'x', class: 'timeout', detail: 'x', atMs: 2000 } },
  ];
  t.equal(await exitsAfter(6), 0, 'one that was refused');
  state.isSilent = true;
  t.equal(await exitsAfter(10), 0, 'an engine that does not say');
  state.isSilent = false;
  t.equal(await exitsAfter(5), 0);
  state.upstreams = [];
  t.equal(await exitsAfter(1), 1, 'a server that leaves the list is no use');
});

t.test('a daemon that nobody starts again, or that is to keep a target warm, stays', async (t) => {
  for (const change of [
    { idle_exit: 'none' as const },
    { listens: false },
    { takesEnginesAlong: true },
    { targets: { prod: { warm: true } } },
  ]) {
    const { idle, state, exitsAfter } = unused();
    Object.assign(state, change);
    t.equal(await exitsAfter(20), 0, JSON.stringify(change));
    idle.close();
  }
  const { idle, exitsAfter } = unused();
  await exitsAfter(5);
  idle.close();
  t.equal(await exitsAfter(5), 0, 'one that stops already');
});
