// Tests which plans of targets with `warm = true` the engine gets, and when.
import { pino } from 'pino';
import t from 'tap';
import { KeepWarm } from '../../../daemon/control/engines/keep-warm.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import type { Plan } from '../../../daemon/engine-protocol/plan.ts';
import { FakeClock, settle } from '../../base/async/fake-clock.ts';
import { gate } from '../target-sockets/reconciler-rig.ts';

function planTo(target: string, port: number, sshAuth = false): Plan {
  return {
    destination: {
      label: target,
      route: sshAuth
        ? { transport: 'iroh', endpointId: 'e', sshAuth }
        : { transport: 'tls', host: 'h', port, serverName: 'h' },
      compression: ['none'],
      compressionStated: false,
      connectTimeoutMs: 1000,
      warnings: [],
      address: sshAuth ? 'iroh:e' : `tls:h:${String(port)}`,
      context: '00000000',
      runtime: { name: '', socket: '/run/s' },
    },
    client: { requestId: 'r', name: 'n', principal: { id: 'p' }, ifRunning: false, warnings: [] },
    budgetMs: 1000,
  };
}

function rigFor(targets: readonly string[]) {
  const clock = new FakeClock();
  const told: string[] = [];
  let plan = (target: string): Promise<Plan> => Promise.resolve(planTo(target, 1));
  const keepWarm = new KeepWarm({
    clock,
    log: pino({ level: 'silent' }),
    settings: () => ({
      ...defaultSettings(),
      targets: Object.fromEntries(targets.map((name) => [name, { warm: true as const }])),
    }),
    plans: { planFor: ({ target = '' }) => plan(target) },
    engines: {
      tell: (message) => {
        if (message.type === 'warm') told.push(message.plan.destination.address);
      },
    },
  });
  return {
    clock,
    keepWarm,
    told: () => told.splice(0),
    planWith: (next: typeof plan) => {
      plan = next;
    },
  };
}

t.test('an older plan is not sent after a newer one', async (t) => {
  const { clock, keepWarm, told, planWith } = rigFor(['a']);
  const slow = gate<Plan>();
  let plans = 0;
  planWith(() => {
    plans += 1;
    return plans === 1 ? slow.promise : Promise.resolve(planTo('a', plans));
  });
  keepWarm.open();
  for (let change = 0; change < 3; change += 1) keepWarm.refresh();
  await clock.advance(15_000);
  t.equal(plans, 1, 'only one plan is made at a time');
  slow.open(planTo('a', 1));
  await settle();
  t.strictSame(told(), ['tls:h:1', 'tls:h:2'], 'one more plan is made for all changes meanwhile');
  keepWarm.close();
});

t.test('a target whose resolution hangs delays no other target', async (t) => {
  const { keepWarm, told, planWith } = rigFor(['hangs', 'b']);
  planWith((target) => (target === 'b' ? Promise.resolve(planTo('b', 2)) : new Promise(() => undefined)));
  keepWarm.open();
  await settle();
  t.strictSame(told(), ['tls:h:2']);
  keepWarm.close();
});

t.test(
  'a target that needs an SSH agent is not sent every 15 s, because the agent may ask a person',
  async (t) => {
    const { clock, keepWarm, told, planWith } = rigFor(['a', 'ssh']);
    planWith((target) => Promise.resolve(planTo(target, 1, target === 'ssh')));
    await clock.advance(15_000);
    t.strictSame(told(), [], 'nothing is sent before open()');
    keepWarm.open();
    await settle();
    t.strictSame(told(), ['tls:h:1', 'iroh:e']);
    await clock.advance(15_000);
    t.strictSame(told(), ['tls:h:1']);
    keepWarm.refresh();
    await settle();
    t.strictSame(told(), ['tls:h:1', 'iroh:e']);
    keepWarm.close();
    await clock.advance(60_000);
    t.strictSame(told(), []);
  },
);
