// Tests how the beginnings of many TLS dials are spread over time.
import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Deadline } from '../../../daemon/base/async/deadline.ts';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { DialPace, type LoopTimes, type PacedDial } from '../../../daemon/transport/tls/dial-pace.ts';
import { TlsContexts } from '../../../daemon/transport/tls/tls.ts';
import { selfSigned } from '../../embedded/certificate.ts';
import { waitFor } from '../../real/child.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

/** Dials `count` times; `begun` has the numbers of the dials that have begun. */
function dialled(pace: DialPace, key: string, count: number): { dials: PacedDial[]; begun: number[] } {
  const begun: number[] = [];
  const dials = Array.from({ length: count }, (_, at) => {
    const dial = pace.dial(key);
    if (dial.turn === undefined) begun.push(at);
    else void dial.turn.then(() => begun.push(at));
    return dial;
  });
  return { dials, begun };
}

/** A loop that does nothing but these dials, and one that never rests. */
const idleLoop =
  (clock: FakeClock): (() => LoopTimes) =>
  () => ({ idle: clock.now(), active: 0 });
const busyLoop =
  (clock: FakeClock): (() => LoopTimes) =>
  () => ({ idle: 0, active: clock.now() });

t.test(
  'few dials begin at once, further ones one after the other, and none of another address waits',
  async (t) => {
    const clock = new FakeClock();
    const pace = new DialPace(clock, idleLoop(clock));
    const mute = dialled(pace, 'mute', 20);
    t.equal(mute.begun.length, 8);
    t.equal(dialled(pace, 'healthy', 1).begun.length, 1);
    await clock.advance(1);
    t.same(mute.begun.slice(8), [8], 'the oldest one is first');
    await clock.advance(100);
    t.equal(mute.begun.length, 20);
    t.equal(clock.waiting, 0, 'no timer is left');
  },
);

t.test('addresses take turns', async (t) => {
  const clock = new FakeClock();
  const pace = new DialPace(clock, idleLoop(clock));
  const first = dialled(pace, 'first', 108);
  const second = dialled(pace, 'second', 108);
  await clock.advance(20);
  t.equal(first.begun.length - 8, 10);
  t.equal(second.begun.length - 8, 10);
});

t.test('the more dials are under way, the slower others begin; all of them do', async (t) => {
  const clock = new FakeClock();
  const pace = new DialPace(clock, idleLoop(clock));
  const { begun } = dialled(pace, 'mute', 1024);
  await clock.advance(500);
  t.ok(begun.length > 200 && begun.length < 400, `${String(begun.length)} have begun`);
  await clock.advance(3500);
  t.equal(begun.length, 1024);
});

t.test('a dial that is given up leaves the queue, and one that is over makes room', async (t) => {
  const clock = new FakeClock();
  const pace = new DialPace(clock, idleLoop(clock));
  const { dials, begun } = dialled(pace, 'mute', 10);
  dials[8]?.over();
  await clock.advance(10);
  t.same(begun.slice(8), [9]);
  for (const { over } of dials) over();
  t.equal(dialled(pace, 'mute', 9).begun.length, 8, 'none is counted twice or kept');
});

t.test('beside a busy event loop dials begin more slowly, and all of them do', async (t) => {
  const clock = new FakeClock();
  const pace = new DialPace(clock, busyLoop(clock));
  const { begun } = dialled(pace, 'mute', 28);
  await clock.advance(160);
  t.ok(begun.length - 8 >= 8 && begun.length - 8 <= 10, `${String(begun.length)} have begun`);
  await clock.advance(240);
  t.equal(begun.length, 28);
  t.equal(clock.waiting, 0, 'no timer is left');
});

t.test('dials that begin at once begin in turns of their own', async (t) => {
  const held = new Set<Socket>();
  const mute = createServer((socket) => held.add(socket.on('error', () => undefined)));
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const { port } = mute.address() as AddressInfo;
  const stop = new AbortController();
  let turn = 0;
  let looking = true;
  const count = (): void => {
    turn += 1;
    if (looking) setImmediate(count);
  };
  count();
  const begun = new Map<number, number>();
  const hook = createHook({
    init: (_id, type) => {
      if (type === 'TCPCONNECTWRAP') begun.set(turn, (begun.get(turn) ?? 0) + 1);
    },
  }).enable();
  t.teardown(() => {
    looking = false;
    hook.disable();
    for (const socket of held) socket.destroy();
    mute.close();
  });
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-dials-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const caFile = join(folder, 'ca.pem');
  await writeFile(caFile, selfSigned().certPem);
  const contexts = new TlsContexts({ roots: new SystemRoots({ env: { SSL_CERT_FILE: '/dev/null' } }) });
  const route = { transport: 'tls', host: '127.0.0.1', port, serverName: 'localhost', caFile } as const;
  const dialling = { deadline: new Deadline(60_000), signal: stop.signal };
  const opened = Array.from({ length: 8 }, () => contexts.open(route, 'mute', dialling));
  const over = Promise.allSettled(opened);
  await waitFor('all to have begun', () => held.size === 8);
  stop.abort(new Error('enough'));
  await over;
  const most = Math.max(...begun.values());
  t.ok(most > 0 && most <= 2, `${String(most)} of 8 in one turn of the event loop`);
});
