// Which gateways have lost a pin, and which live streams were opened by it.
import t from 'tap';
import type { TlsTrust } from '../../../daemon/config/bmux/types.ts';
import { liveWithoutPin } from '../../../daemon/engine/upstream/targets/live-without-pin.ts';
import type { GatewayTrust, Route } from '../../../daemon/engine-protocol/plan.ts';
import { lostPins } from '../../../daemon/target/tls-trust.ts';

const trustOf = (stored: Record<string, string>, declared: Record<string, string> = {}): TlsTrust => {
  const pins = (all: Record<string, string>) =>
    new Map(Object.entries(all).map(([key, fingerprint]) => [key, { fingerprint }]));
  return { mode: 'prompt', declared: pins(declared), store: { path: '/s', pins: pins(stored) } };
};

t.test('a pin is lost when another one or none counts for its gateway', (t) => {
  const rows: [before: TlsTrust, now: TlsTrust | undefined, lost: string[]][] = [
    [trustOf({ 'a:1': 'SHA256:AA' }), trustOf({ 'a:1': ' sha256:aa', 'b:1': 'x' }), []],
    [trustOf({ 'a:1': 'x', 'b:1': 'y' }), trustOf({ 'b:1': 'y' }), ['a:1']],
    [trustOf({ 'a:1': 'x' }), trustOf({ 'a:1': 'y' }), ['a:1']],
    [trustOf({ 'a:1': 'x' }), trustOf({ 'a:1': 'x' }, { 'a:1': 'y' }), ['a:1']],
    [trustOf({ 'a:1': 'x' }, { 'a:1': 'x' }), trustOf({ 'a:1': 'x' }), []],
    [trustOf({ 'a:1': 'x' }), undefined, ['a:1']],
  ];
  for (const [before, now, lost] of rows) t.strictSame(lostPins(before, now), lost);
  t.end();
});

t.test('live streams are named by gateway, of the store that has changed', (t) => {
  const trust: GatewayTrust = { mode: 'prompt', store: '/s' };
  const route: Route = { transport: 'tls', host: 'a', port: 1, serverName: 'a', trust };
  const { trust: _, ...verified } = route;
  const live = [
    ['1', route],
    ['2', { ...route, port: 2 }],
    ['3', { ...route, trust: { ...trust, store: '/other' } }],
    ['4', verified],
    ['5', { transport: 'local', socketPath: '/x' }],
    ['6', route],
  ] as unknown as readonly (readonly [string, Route])[];
  const plans = live.map(([id, one]) => ({ id, plan: { destination: { route: one } } })) as never;
  const failures = liveWithoutPin(plans, { store: '/s', gateways: ['a:1', 'b:1'] });
  t.strictSame(
    failures.map(({ code, data }) => [code, data.detail]),
    [
      [
        'pin_gone_live',
        'the pin of TLS gateway a:1 was removed or changed; streams that were opened before go on: 1, 6',
      ],
    ],
  );
  t.end();
});
