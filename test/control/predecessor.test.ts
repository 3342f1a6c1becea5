// What a new engine gets ready for before it takes over, and how long that is waited for.
import t, { type Test } from 'tap';
import type { UpstreamRow } from '../../daemon/api/answers.ts';
import { warmLikePredecessor, type PredecessorOptions } from '../../daemon/control/predecessor.ts';
import type { Plan } from '../../daemon/engine-protocol/plan.ts';
import { waitFor } from '../real/child.ts';

/** ms that no test reaches. */
const LONG_MS = 300_000;

function row(target: string, fields: Partial<UpstreamRow> = {}): UpstreamRow {
  const address = `tls:${target}:1`;
  const common = {
    transport: 'tls',
    state: 'cold',
    spares: 0,
    connections: 0,
    warm: false,
    streams: 0,
  } as const;
  return { address, target, ...common, ...fields };
}

function planOf(target: string, address = `tls:${target}:1`): Plan {
  const route = { transport: 'tls', host: target, port: 1, serverName: target, pins: [] } as const;
  return {
    destination: { label: target, address, route, warnings: [], connectTimeoutMs: 8000, context: '' },
    client: {
      requestId: 'r',
      name: 'test',
      principal: { userId: 'u', clientId: 'c' },
      ifRunning: false,
      warnings: [],
    },
    budgetMs: 8000,
  } as unknown as Plan;
}

/** `now`: the rows of the own engine, which the test changes. */
function getReady(former: readonly UpstreamRow[], options: Partial<PredecessorOptions> = {}) {
  const told: string[] = [];
  const now: UpstreamRow[] = [];
  let isOver = false;
  const over = warmLikePredecessor({
    former: () => Promise.resolve(former),
    tried: Promise.resolve(),
    planFor: (target) => Promise.resolve(planOf(target)),
    tell: (message) => {
      if (message.type === 'warm' || message.type === 'try')
        told.push(`${message.type} ${message.plan.destination.label}`);
    },
    upstreams: () => Promise.resolve(now),
    limitMs: LONG_MS,
    ...options,
  }).then(() => {
    isOver = true;
  });
  return { told, now, over, isOver: () => isOver };
}

t.test('what is warm is warmed, and what was used is tried', async (t: Test) => {
  const { told, now, over, isOver } = getReady([
    row('warm', { warm: true, state: 'warm', lastStreamMs: 5 }),
    row('used', { lastStreamMs: 2 }),
    row('later', { lastStreamMs: 3 }),
    row('never'),
    row('failing', { state: 'failing', lastStreamMs: 4 }),
    row('asks', { transport: 'ssh', lastStreamMs: 4 }),
    row('other name', { address: 'tls:used:1', lastStreamMs: 1 }),
    row('moved', { address: 'tls:elsewhere:1', lastStreamMs: 1 }),
  ]);
  await waitFor('all to be told', () => told.length === 3);
  t.strictSame(told, ['warm warm', 'try later', 'try used']);
  now.push(row('warm', { lastStreamMs: 9 }), row('used', { lastStreamMs: 9 }), row('later'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(isOver(), false);
  now.splice(
    0,
    3,
    row('warm', { warm: true }),
    row('used', { lastStreamMs: 9 }),
    row('later', { state: 'failing' }),
  );
  await over;
  t.equal(told.length, 3);
});

t.test('the eight servers that were used last are tried', async (t) => {
  const former = Array.from({ length: 12 }, (_, at) => row(`t${String(at)}`, { lastStreamMs: at }));
  const { told, now, over } = getReady(former);
  now.push(...former);
  await over;
  t.strictSame(
    told,
    [11, 10, 9, 8, 7, 6, 5, 4].map((at) => `try t${String(at)}`),
  );
});

t.test('without a former engine nothing is waited for', async () => {
  await getReady([], { tried: new Promise(() => undefined) }).over;
});

t.test('the limit ends each wait', async (t) => {
  const never = new Promise<never>(() => undefined);
  const used = [row('used', { lastStreamMs: 1 })];
  await getReady(used, { limitMs: 50, former: () => never }).over;
  await getReady(used, { limitMs: 50, planFor: () => never }).over;
  const { told, over } = getReady([...used, row('warm', { warm: true })], { limitMs: 50 });
  await over;
  t.strictSame(told, ['warm warm', 'try used']);
});
