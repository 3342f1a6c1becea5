// Spares: their number, how long they are kept, and how they are checked and handed out.
import t from 'tap';
import { settle } from '../base/async/fake-clock.ts';
import { SparesRig, type Line } from './rig.ts';

t.test('commands in quick succession get a spare each, from the second on', async (t) => {
  const rig = new SparesRig();
  rig.spares.used(rig.factory(), rig.makeMs, rig.roundTripMs);
  const found: Promise<Line | undefined>[] = [];
  const waits: number[] = [];
  for (let turn = 0; turn < 12; turn += 1) {
    await rig.clock.advance(65);
    const since = rig.clock.now();
    const taking = rig.spares.take(rig.factory());
    found.push(taking);
    void taking.then(() => waits.push(rig.clock.now() - since));
    t.ok(rig.spares.count <= 4);
  }
  await rig.clock.advance(200);
  const lines = await Promise.all(found);
  t.equal(lines.filter((line) => line === undefined).length, 0);
  t.equal(new Set(lines).size, 12, 'all are different');
  t.strictSame(waits, [135, 70, 70, 5, 5, 0, 0, 0, 0, 0, 0, 0], 'ms waited, where a new one takes 200');
  await rig.clock.advance(1000);
  t.equal(rig.spares.count, 4, 'as many as recent use needs');
  await rig.clock.advance(15_000);
  t.equal(rig.spares.count, 1, 'one after that use');
  await rig.clock.advance(46_000);
  t.equal(rig.spares.count, 0, 'none after the ttl');
  t.equal(rig.open, 12);
  rig.spares.close();
});

t.test('there are not more spares than the bound, and none when it is 0', async (t) => {
  const rig = new SparesRig();
  rig.max = 1;
  await rig.warm();
  t.equal(rig.made, 1);
  rig.max = 0;
  await rig.clock.advance(2000);
  t.equal(rig.spares.count, 0, 'the bound was set to 0 while there was a spare');
  rig.spares.used(rig.factory('other'), 200, 50);
  rig.max = 4;
  rig.ttlMs = 0;
  rig.spares.used(rig.factory('third'), 200, 50);
  await rig.clock.advance(300);
  t.equal(rig.made, 1);
  rig.spares.close();
});

t.test('a spare that is handed out is replaced at once, within the bound of connections', async (t) => {
  const rig = new SparesRig();
  rig.connections = 3;
  await rig.warm();
  t.equal(rig.spares.count, 2);
  t.ok((await rig.take()).line);
  t.equal(rig.making, 1);
  await rig.clock.advance(200);
  t.equal(rig.spares.count, 2);
  t.ok((await rig.take()).line);
  t.ok((await rig.take()).line);
  t.equal(rig.making, 0, 'three are held');
  await rig.clock.advance(1000);
  t.equal(rig.open, 3);
  rig.lines[0]?.stream.destroy();
  await rig.clock.advance(1201);
  t.equal(rig.spares.count, 1, 'a connection that is free again is used');
  rig.spares.close();
});

t.test('spares of several keys that are made at once share the bound of connections', async (t) => {
  const rig = new SparesRig();
  rig.connections = 3;
  for (const key of ['a', 'b']) rig.spares.used(rig.factory(key), 200, 50);
  t.equal(rig.making, 3);
  await rig.clock.advance(300);
  t.equal(rig.spares.count, 3);
  rig.spares.close();
});

t.test(
  'a spare that is handed out is paused, without buffered bytes and without listeners of the pool',
  async (t) => {
    const rig = new SparesRig();
    await rig.warm();
    const [fresh] = rig.lines;
    await rig.clock.advance(10_000);
    const { line } = await rig.take();
    t.ok(line);
    if (line === undefined || fresh === undefined) return;
    const { stream, far } = line;
    t.ok(stream.isPaused());
    t.equal(stream.readableLength, 0);
    for (const name of ['data', 'end', 'close', 'drain', 'finish', 'readable'])
      t.equal(stream.listenerCount(name), 0, name);
    t.equal(stream.listenerCount('error'), 1, 'the one of the rig');
    far.write('first');
    await settle();
    t.equal(String(stream.read()), 'first', 'the client gets all bytes');
    rig.spares.drop();
    rig.spares.close();
    t.notOk(rig.ended.includes(stream), 'the pool does not end it');
  },
);

t.test('a spare that ends, fails, closes or sends something is removed from the pool at once', async (t) => {
  const ways: Readonly<Record<string, (line: Line) => void>> = {
    ends: ({ far }) => far.end(),
    fails: ({ stream }) => stream.destroy(new Error('ECONNRESET')),
    closes: ({ stream }) => stream.destroy(),
    sends: ({ far }) => far.write('what?'),
  };
  for (const [way, go] of Object.entries(ways)) {
    const rig = new SparesRig();
    rig.max = 1;
    await rig.warm();
    await rig.clock.advance(20_000);
    const [line] = rig.lines;
    if (line === undefined) throw new Error('nothing was made');
    go(line);
    await settle();
    t.equal(rig.spares.count, 0, way);
    t.strictSame(rig.ended, [line.stream], way);
    t.equal(rig.making, 1, `${way}: another one is made`);
    rig.spares.close();
    await rig.clock.advance(1000);
    t.equal(rig.open, 0);
  }
});

t.test('a dead spare is noticed by the regular checks and not handed out', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  rig.silent = true;
  rig.fails = true;
  await rig.clock.advance(5000);
  t.equal(rig.spares.count, 0);
  t.equal((await rig.take()).line, undefined);
  rig.spares.close();
});

t.test('take during a check gets the spare at once, and the check is given up', async (t) => {
  const rig = new SparesRig();
  rig.max = 1;
  await rig.warm();
  await rig.clock.advance(3799);
  t.equal(rig.checks.length, 1, 'the first check has begun');
  await rig.clock.advance(11);
  const { line, waitedMs } = await rig.take();
  t.ok(line);
  t.equal(waitedMs, 0, 'the former check is still valid');
  t.equal(line?.release(), false, 'the check under way was given up');
  await rig.clock.advance(100);
  t.notOk(
    rig.ended.some((stream) => stream === line?.stream),
    'the pool does not end it for that',
  );
  rig.spares.close();
});

t.test(
  'take waits for a check whose Pong was read in part, since the client would read the rest',
  async (t) => {
    const rig = new SparesRig();
    rig.max = 1;
    await rig.warm();
    await rig.clock.advance(3810);
    rig.answering = true;
    const { line, waitedMs } = await rig.take();
    t.ok(line);
    t.equal(waitedMs, 39);
    rig.spares.close();
  },
);

t.test('after a jump of the clock all spares are checked before use, in one round trip', async (t) => {
  for (const jump of [30_000, -3_600_000]) {
    const rig = new SparesRig();
    for (let turn = 0; turn < 4; turn += 1) rig.spares.used(rig.factory(), 200, 50);
    for (let turn = 0; turn < 4; turn += 1) void rig.spares.take(rig.factory());
    await rig.clock.advance(1000);
    const before = rig.checks.length;
    const count = rig.spares.count;
    t.ok(count > 1);
    rig.clock.jump(jump);
    const { line, waitedMs } = await rig.take();
    t.ok(line);
    t.equal(waitedMs, 50, `${String(jump)}: one round trip`);
    t.equal(new Set(rig.checks.slice(before)).size, count, 'all at the same time');

    rig.clock.jump(jump);
    rig.silent = true;
    const dead = await rig.take();
    t.equal(dead.line, undefined);
    t.ok(dead.waitedMs <= 100, `${String(dead.waitedMs)} ms lost on dead ones`);
    rig.silent = false;
    const old = rig.lines.length;
    await rig.clock.advance(3500);
    t.ok(rig.spares.count > 0, 'they are replaced');
    t.ok(rig.lines.length > old);
    const fresh = await rig.take();
    t.ok((fresh.line?.number ?? 0) >= old);
    rig.spares.close();
  }
});

t.test('after markStale each spare is checked before it is handed out', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  t.ok(rig.spares.count > 0);
  rig.spares.markStale();
  const { line, waitedMs } = await rig.take();
  t.ok(line);
  t.equal(waitedMs, 50, 'one round trip');
  await rig.clock.advance(1000);
  rig.silent = true;
  rig.fails = true;
  rig.spares.markStale();
  t.equal(
    (await rig.take()).line,
    undefined,
    'a dead spare is not handed out, even when its last check was a moment ago',
  );
  rig.spares.close();
});

t.test('take waits at most for its patience', async (t) => {
  const rig = new SparesRig();
  rig.max = 1;
  rig.makeMs = 900;
  rig.roundTripMs = 450;
  rig.spares.used(rig.factory(), rig.makeMs, rig.roundTripMs);
  await rig.clock.advance(500);
  const since = rig.clock.now();
  let over: number | undefined;
  void rig.spares.take(rig.factory(), 100).then(() => (over = rig.clock.now()));
  await rig.clock.advance(1000);
  t.equal((over ?? Infinity) - since, 100);
  rig.spares.close();
});

t.test('after a long sleep former uses are not recent', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  rig.clock.jump(3_600_000);
  await rig.clock.advance(2000);
  t.equal(rig.spares.count, 0);
  t.equal(rig.made, 2);
  rig.spares.close();
});

t.test('after the clock was set back former uses are not recent', async (t) => {
  const rig = new SparesRig();
  await rig.warm();
  for (let turn = 0; turn < 4; turn += 1) await rig.take();
  rig.clock.jump(-3_600_000);
  await rig.clock.advance(4000);
  t.equal(rig.spares.count, 1);
  await rig.clock.advance(60_000);
  t.equal(rig.spares.count, 0);
  rig.spares.close();
});

t.test('take waits for a spare that is being made when that is faster than opening a stream', async (t) => {
  const rig = new SparesRig();
  rig.spares.used(rig.factory(), 200, 50);
  await rig.clock.advance(20);
  t.equal((await rig.take()).line, undefined, 'it began too late to be faster than a new stream');
  await rig.clock.advance(100);
  const { line, waitedMs } = await rig.take();
  t.ok(line);
  t.equal(waitedMs, 80);
  // The wait ends even when the spare is not made.
  rig.spares.drop();
  rig.makeMs = 100_000;
  rig.spares.used(rig.factory('slow'), 200, 50);
  await rig.clock.advance(100);
  const slow = await rig.take('slow');
  t.equal(slow.line, undefined);
  t.ok(slow.waitedMs <= 200, `${String(slow.waitedMs)} ms`);
  rig.spares.close();
});
