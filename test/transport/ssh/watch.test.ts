// Live streams whose server has ended: what is asked, when, and which streams are told.
import t from 'tap';
import { ServerWatch, type ServerThere, type Watched } from '../../../daemon/transport/ssh/watch.ts';
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
