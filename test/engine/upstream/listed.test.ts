// Tests which servers the status lists, when one is warm, and which round trip is shown.
import t from 'tap';
import { ServerHealth } from '../../../daemon/engine/upstream/targets/health.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { FakeClock, settle } from '../../base/async/fake-clock.ts';
import { planTo, UpstreamRig } from './rig.ts';

t.test('a near server has no spares after a use, and one after it was warmed', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...defaultSettings(), 'warmth.min_round_trip': 10_000 };
  const plan = planTo('a');
  (await rig.open(plan)).end();
  await rig.until('a', 'the stream to end', (row) => row?.connections === 0);
  t.match(rig.row('a'), { state: 'cold', spares: 0 });
  const warm = (): void => {
    rig.upstreams.for(plan.destination).warm(plan);
  };
  warm();
  await rig.until('a', 'a spare', (row) => row?.state === 'warm');
  warm();
  (await rig.open(plan)).end();
  await rig.until('a', 'another spare', (row) => row?.spares === 1);
  rig.upstreams.drop(plan.destination);
  await rig.until('a', 'the row to leave', (row) => row === undefined);
});

t.test('warmth.min_round_trip = 0 gives every target spares', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...defaultSettings(), 'warmth.min_round_trip': 0 };
  (await rig.open(planTo('a'))).end();
  await rig.until('a', 'spares', (row) => row?.state === 'warm');
});

t.test('a drop forgets a failing server, and the next request lists it again', async (t) => {
  const rig = new UpstreamRig(t);
  rig.fails = true;
  const { destination } = planTo('a');
  await t.rejects(rig.open(planTo('a')));
  t.match(rig.row('a'), { state: 'failing' });
  rig.upstreams.drop(destination);
  t.equal(rig.row('a'), undefined);
  await t.rejects(rig.open(planTo('a')));
  t.match(rig.row('a'), { state: 'failing' });
});

t.test('a server that nobody asks for leaves the list, but not while there is a stream', async (t) => {
  const rig = new UpstreamRig(t);
  rig.settings = { ...rig.settings, targets: { prod: { spares: 0 } } };
  rig.fails = true;
  await t.rejects(rig.open(planTo('b')));
  rig.fails = false;
  const live = await rig.open(planTo('a'));
  await rig.clock.advance(9 * 60_000);
  t.match([rig.row('a'), rig.row('b')], [{ streams: 1 }, { state: 'failing' }]);
  await rig.clock.advance(2 * 60_000);
  t.match([rig.row('a'), rig.row('b')], [{ streams: 1 }, undefined]);
  live.end();
  await rig.until('a', 'the row to leave', (row) => row === undefined);
  (await rig.open(planTo('a'))).end();
  t.match(rig.row('a'), { state: 'cold' });
});

t.test('two targets of one server have rows of their own, with their own failures', async (t) => {
  const rig = new UpstreamRig(t);
  const [prod, twin] = [planTo('a', 'prod'), planTo('a', 'a twin')];
  const rows = () =>
    rig.upstreams.rows().map(({ target, state, lastError }) => [target, state, lastError?.code]);
  const code = 'tls_unreachable';
  const live = await rig.open(prod);
  await rig.until('a', 'a spare', (row) => row?.spares === 1);
  rig.fails = true;
  rig.upstreams.for(twin.destination).failed(twin.destination, fail(code, {}).data);
  t.strictSame(rows(), [
    ['a twin', 'failing', code],
    ['prod', 'warm', undefined],
  ]);
  t.match(rig.upstreams.rows(), [
    { streams: 0, connections: 0, spares: 0 },
    { streams: 1, connections: 2, spares: 1 },
  ]);
  // The spare of one target is made again, and the other one still fails.
  rig.fails = false;
  for (const far of rig.far.slice(1)) far.end();
  await settle();
  await rig.clock.advance(20_000);
  await rig.until('a', 'a spare again', () => rig.upstreams.rows()[1]?.spares === 1);
  t.strictSame(rows(), [
    ['a twin', 'failing', code],
    ['prod', 'warm', undefined],
  ]);
  rig.upstreams.drop(twin.destination);
  t.strictSame(
    rows().map(([target]) => target),
    ['prod'],
    'a dropped target leaves, the other one stays',
  );
  rig.upstreams.for(twin.destination).failed(twin.destination, fail(code, {}).data);
  rig.upstreams.for(prod.destination).unrefer(prod.destination, twin.destination);
  t.equal(rows().length, 2, 'a target that has moved stays while it has a stream');
  live.end();
  await rig.until('a', 'its row to leave', () => rows().length === 1);
  t.strictSame(rows(), [['a twin', 'failing', code]]);
});

t.test('the round trip is the shortest of the latest', async (t) => {
  const clock = new FakeClock();
  const health = new ServerHealth(clock);
  t.equal(health.roundTripMs, undefined);
  health.answered(160);
  t.equal(health.roundTripMs, 160, 'of the first Hello, as long as there is no other');
  health.answered(48);
  health.answered(55);
  t.equal(health.roundTripMs, 48);
  await clock.advance(61_000);
  t.equal(health.roundTripMs, 48);
  health.answered(90);
  t.equal(health.roundTripMs, 90, 'the path has changed');
  for (let index = 0; index < 8; index += 1) health.answered(100);
  t.equal(health.roundTripMs, 100);
});
