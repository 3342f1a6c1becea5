// Upstreams and their registry without a network: references, failures, spares, warm-ups and eviction.
import t from 'tap';
import { fail } from '../../../daemon/errors/fail.ts';
import { settle } from '../../base/async/fake-clock.ts';
import { failureOf } from '../../transport/dialling.ts';
import { planTo, UpstreamRig } from './rig.ts';

const never = new AbortController().signal;

t.test('a target moves to another server: the former one is shown until its last stream ends', async (t) => {
  const rig = new UpstreamRig(t);
  const [before, now] = [planTo('a').destination, planTo('b').destination];
  rig.upstreams.for(before).refer(before);
  t.equal(rig.row('a'), undefined, 'it was not used yet');
  const live = await rig.open(planTo('a'));
  await rig.until('a', 'spares', (row) => (row?.spares ?? 0) > 0);
  rig.upstreams.move(before, now);
  t.match(rig.row('a'), { target: 'prod', spares: 0, streams: 1 }, 'its spares end, its stream goes on');
  t.match(rig.row('b'), { target: 'prod', state: 'cold', streams: 0 });
  live.end();
  await rig.until('a', 'the row of the former server to disappear', (row) => row === undefined);
  t.match(rig.row('b'), { target: 'prod' });
});

t.test('a server to which two target sockets lead keeps its spares when one is gone', async (t) => {
  const rig = new UpstreamRig(t);
  const [one, two] = [planTo('a').destination, planTo('a', 'prod', 'c2').destination];
  for (const destination of [one, two]) rig.upstreams.for(destination).refer(destination);
  (await rig.open(planTo('a'))).end();
  await rig.until('a', 'spares', (row) => (row?.spares ?? 0) > 0);
  rig.upstreams.for(two).unrefer(two);
  t.ok((rig.row('a')?.spares ?? 0) > 0);
  rig.upstreams.for(one).unrefer(one);
  t.equal(rig.row('a')?.spares ?? 0, 0);
  await rig.until('a', 'the row to disappear', (row) => row === undefined);
});

t.test('a context that has a new name is the same reference', async (t) => {
  const rig = new UpstreamRig(t);
  const [before, now] = [planTo('a').destination, planTo('a', 'prod', 'c2').destination];
  rig.upstreams.for(before).refer(before);
  (await rig.open(planTo('a'))).end();
  rig.upstreams.move(before, now);
  t.match(rig.row('a'), { target: 'prod' });
  rig.upstreams.for(now).unrefer(now);
  await rig.until('a', 'the row to disappear', (row) => row === undefined);
});

t.test('when a share link leads to another server, the row of the former server disappears', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
  const linked = (host: string) => {
    const plan = planTo(host);
    return { ...plan, destination: { ...plan.destination, link: 'bmux://home' } };
  };
  (await rig.open(linked('a'))).end();
  await rig.until('a', 'its stream to end', (row) => row?.streams === 0);
  (await rig.open(linked('b'))).end();
  await rig.until('a', 'the row of the former server to disappear', (row) => row === undefined);
  t.match(rig.row('b'), { target: 'bmux://home' });
});

t.test('a change of the trust in gateways ends the spares, and live streams go on', async (t) => {
  const rig = new UpstreamRig(t);
  const live = await rig.open(planTo('a'));
  await rig.until('a', 'spares', (row) => (row?.spares ?? 0) > 0);
  rig.upstreams.trustChanged();
  t.match(rig.row('a'), { spares: 0, streams: 1 });
  t.equal(live.stream.writable, true);
  live.end();
});

t.test('a drop ends the spares, and live streams go on', async (t) => {
  const rig = new UpstreamRig(t);
  const { destination } = planTo('a');
  const live = await rig.open(planTo('a'));
  await rig.until('a', 'spares', (row) => (row?.spares ?? 0) > 0);
  rig.upstreams.drop(destination);
  t.match(rig.row('a'), { spares: 0, streams: 1 });
  await rig.until('a', 'the connections of the spares', (row) => row?.connections === 1);
  t.equal(live.stream.writable, true);
  live.end();
  await rig.until('a', 'its stream to end, and the row to leave', (row) => row === undefined);
});

t.test(
  'the row shows since when a server is failing, and the last error for a minute after that',
  async (t) => {
    const rig = new UpstreamRig(t);
    rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
    rig.fails = true;
    const since = rig.clock.now();
    t.equal((await failureOf(rig.open(planTo('a')))).code, 'tls_unreachable');
    await rig.clock.advance(5000);
    await failureOf(rig.open(planTo('a')));
    const lastError = { code: 'tls_unreachable', atMs: since + 5000 };
    t.match(rig.row('a'), { state: 'failing', failingSinceMs: since, lastError });
    await rig.clock.advance(120_000);
    t.match(rig.row('a'), { state: 'failing', lastError }, 'while it is failing');
    await failureOf(rig.open(planTo('a')));
    rig.fails = false;
    (await rig.open(planTo('a'))).end();
    await rig.clock.advance(59_000);
    const row = rig.row('a');
    t.match(row, { state: 'cold', lastError: { atMs: since + 125_000 } });
    t.equal(row?.failingSinceMs, undefined);
    await rig.clock.advance(1000);
    t.equal(rig.row('a')?.lastError, undefined);
  },
);

t.test(
  'the first failure to make a spare is an event, and the next spare ends the failing state',
  async (t) => {
    const rig = new UpstreamRig(t);
    (await rig.open(planTo('a'))).end();
    await rig.until('a', 'spares', (row) => row?.spares === 1);
    rig.fails = true;
    for (const far of rig.far) far.end();
    await settle();
    await rig.clock.advance(20_000);
    t.match(rig.row('a'), { state: 'failing', lastError: { code: 'tls_unreachable' } });
    t.same(rig.events, ['connection failed']);
    rig.fails = false;
    await rig.clock.advance(30_000);
    await rig.until('a', 'a spare again', (row) => row?.spares === 1);
    t.equal(rig.row('a')?.state, 'warm');
  },
);

t.test('after an unexpected answer the next stream waits for the answer of the server', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
  (await rig.open(planTo('a'))).end();
  rig.revision = 2;
  const { stream } = await rig.open(planTo('a'));
  // A part of a frame is not sent again, so the stream is destroyed.
  stream.write(Buffer.of(1));
  await new Promise((resolve) => stream.once('close', resolve));
  const row = rig.row('a');
  t.match(row, { state: 'cold', lastError: { code: 'optimistic_open_failed' } }, 'the server is not failing');
  t.equal(row?.failingSinceMs, undefined);
  t.same(rig.events, ['optimistic open failed']);
  const { negotiated } = await rig.upstreams.for(planTo('a').destination).open(planTo('a'), never);
  t.equal(negotiated.revision, 2);
});

t.test('spares are bounded by the connections of all engines', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, 'warmth.max_connections': 3 };
  rig.upstreams.setOtherEngines({ 'tls:a:443': 3 });
  const live = await rig.open(planTo('a'));
  await settle();
  await rig.clock.advance(2000);
  t.match(rig.row('a'), { spares: 0, connections: 1 }, 'the bound does not refuse a stream');
  rig.upstreams.setOtherEngines({ 'tls:a:443': 1 });
  await rig.clock.advance(2000);
  await rig.until('a', 'one spare', (row) => row?.spares === 1);
  rig.upstreams.setOtherEngines({ 'tls:a:443': 2 });
  t.match(rig.row('a'), { spares: 0, streams: 1 }, 'the spare is released when other engines hold more');
  live.end();
});

t.test('a warm-up does nothing when the server is warm, and only one runs at a time', async (t) => {
  const rig = new UpstreamRig(t);
  const plan = planTo('a');
  const warm = (): void => {
    rig.upstreams.for(plan.destination).warm(plan);
  };
  warm();
  warm();
  await rig.until('a', 'a spare', (row) => row?.spares === 1);
  t.same(rig.dials, ['a', 'a'], 'the stream of one warm-up, and the spare');
  warm();
  await settle();
  t.equal(rig.dials.length, 2);
  rig.upstreams.for(plan.destination).failed(plan.destination, fail('tls_unreachable', {}).data);
  warm();
  await rig.until('a', 'another stream', (row) => row?.state === 'warm');
  t.equal(rig.dials.length, 3, 'a failing server is warmed again');
});

t.test('a warm-up is aborted when no target leads to the server any more', async (t) => {
  const rig = new UpstreamRig(t);
  const plan = planTo('a');
  const { destination } = plan;
  rig.upstreams.for(destination).refer(destination);
  rig.upstreams.for(destination).warm(plan);
  rig.upstreams.for(destination).unrefer(destination);
  await rig.until('a', 'the row to disappear', (row) => row === undefined);
});

t.test('an aborted request does not clear the hello cache', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
  (await rig.open(planTo('a'))).end();
  const upstream = rig.upstreams.for(planTo('a').destination);
  const abort = new AbortController();
  const given = failureOf(upstream.openByDetection(planTo('a'), abort.signal));
  abort.abort(fail('stopping'));
  t.equal((await given).code, 'stopping');
  rig.revision = 2;
  const { negotiated, stream } = await upstream.open(planTo('a'), never);
  stream.on('error', () => undefined);
  t.equal(negotiated.revision, 1, 'the cached answer is still expected');
});

t.test('an upstream that is in use is not evicted', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
  const referred = planTo('referred').destination;
  rig.upstreams.for(referred).refer(referred);
  const live = await rig.open(planTo('live'));
  const unused = rig.upstreams.for(planTo('unused').destination);
  const waiting = rig.upstreams.for(planTo('waiting').destination);
  const opening = rig.open(planTo('waiting'));
  const [first, second] = ['live', 'referred'].map((host) => rig.upstreams.for(planTo(host).destination));
  const fill = (name: string): void => {
    for (let i = 0; i < 300; i += 1) rig.upstreams.for(planTo(`${name}${String(i)}`).destination);
  };
  fill('x');
  t.equal(rig.upstreams.for(planTo('live').destination), first);
  t.equal(rig.upstreams.for(referred), second);
  t.not(rig.upstreams.for(planTo('unused').destination), unused);
  t.equal(rig.upstreams.for(planTo('waiting').destination), waiting, 'a request waits for its spare');
  (await opening).end();
  rig.upstreams.for(referred).unrefer(referred);
  live.end();
  await rig.until('live', 'its stream to end', (row) => row?.streams === 0 && row.connections === 0);
  fill('y');
  t.not(rig.upstreams.for(planTo('live').destination), first);
  t.not(rig.upstreams.for(referred), second);
});

t.test('an upstream that is made after retire has no spares', async (t) => {
  const rig = new UpstreamRig(t);
  rig.upstreams.retire();
  (await rig.open(planTo('a'))).end();
  await settle();
  await rig.clock.advance(2000);
  t.match(rig.row('a'), { spares: 0 });
  t.equal(rig.dials.length, 1);
});
