// Live streams whose server has ended, or whose master hangs: what is asked, when, and which streams are told.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Sessions, SshProcesses } from '../../../daemon/transport/ssh/process.ts';
import {
  MasterWatch,
  ServerWatch,
  type ServerThere,
  type Watched,
} from '../../../daemon/transport/ssh/watch.ts';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

function rigOf(): {
  clock: FakeClock;
  watch: ServerWatch;
  there: { now: ServerThere };
  asked: () => number;
  stream: () => Watched & { heardAt: number; ends: number };
} {
  const clock = new FakeClock();
  const there: { now: ServerThere } = { now: { id: 'one' } };
  let asked = 0;
  const ask = (): Promise<ServerThere> => {
    asked += 1;
    return Promise.resolve(there.now);
  };
  const watch = new ServerWatch({ ask, clock });
  const stream = (): Watched & { heardAt: number; ends: number } => {
    const one = { heardAt: clock.now(), ends: 0, serverEnded: () => (one.ends += 1) };
    watch.add(one);
    return one;
  };
  return { clock, watch, there, asked: () => asked, stream };
}

t.test('a silent stream is told within some seconds that no server is there', async (t) => {
  const { clock, there, stream } = rigOf();
  const one = stream();
  await clock.advance(5000);
  there.now = 'stopped';
  await clock.advance(12_000);
  t.ok(one.ends > 0);
});

t.test('a stream to a former server is told, and one to the present server is not', async (t) => {
  const { clock, watch, there, stream } = rigOf();
  const former = stream();
  await clock.advance(5000);
  there.now = { id: 'two' };
  const present = stream();
  watch.suspect();
  await clock.advance(0);
  t.equal(former.ends, 1);
  watch.remove(former);
  await clock.advance(60_000);
  t.equal(present.ends, 0);
});

t.test('nobody is told anything when nobody knows', async (t) => {
  const { clock, there, stream } = rigOf();
  const one = stream();
  await clock.advance(5000);
  there.now = undefined;
  await clock.advance(60_000);
  t.equal(one.ends, 0);
});

t.test('a stream that hears its server speaks for the others of that server', async (t) => {
  const { clock, asked, stream } = rigOf();
  const [one] = [stream(), stream()];
  await clock.advance(5000);
  const before = asked();
  for (let turn = 0; turn < 20; turn += 1) {
    one.heardAt = clock.now();
    await clock.advance(2000);
  }
  t.equal(asked(), before);
  await clock.advance(30_000);
  t.ok(asked() > before, 'when it hears nothing more, the server is asked');
  t.ok(asked() <= before + 3, 'not more than every ten seconds');
});

t.test('without streams nothing is asked, and no timer runs', async (t) => {
  const { clock, watch, asked, stream } = rigOf();
  const one = stream();
  watch.remove(one);
  watch.suspect();
  t.equal(clock.waiting, 0);
  await clock.advance(60_000);
  t.equal(asked(), 0);
});

t.test('a master is asked once for what has no answer, and seldom without it', async (t) => {
  const folder = t.testdir({});
  writeFileSync(join(folder, 'ssh'), '#!/bin/sh\nexec cat\n', { mode: 0o755 });
  const env = { PATH: `${folder}:/usr/bin:/bin` };
  const session = new SshProcesses().start([], { env, stdin: 'pipe', stdout: 'pipe' });
  t.teardown(() => session.end());
  const [clock, sessions] = [new FakeClock(), new Sessions()];
  let [asked, hangs] = [0, false];
  const told: string[] = [];
  const watch = new MasterWatch({
    pid: undefined,
    tcp: new TcpWatch({ clock }),
    sessions,
    isHung: () => Promise.resolve(((asked += 1), hangs)),
    giveUp: (why) => told.push(why),
    clock,
  });
  sessions.add(session);
  watch.look();
  const after = async (ms: number): Promise<number> => {
    await clock.advance(ms);
    return asked;
  };
  t.equal(await after(10_000), 0);
  session.waitsSince = clock.now();
  t.equal(await after(2000), 0, 'an answer takes its time');
  t.equal(await after(3000), 1);
  t.equal(await after(10_000), 1, 'it works');
  t.equal(await after(6000), 2, 'a session that is silent');
  hangs = true;
  session.waitsSince = clock.now();
  t.equal(await after(5000), 3);
  t.strictSame(told, ['its ssh does not answer']);
  t.equal(clock.waiting, 0);
});
