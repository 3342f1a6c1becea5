// Relays that do not answer: what a dial and the doctor say of them.
import net, { createServer, Socket, type AddressInfo } from 'node:net';
import { syncBuiltinESMExports } from 'node:module';
import { once } from 'node:events';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import type { ProbeStep } from '../../../daemon/engine-protocol/probe.ts';
import { tryIroh } from '../../../daemon/engine/probe/iroh.ts';
import { checkRelay } from '../../../daemon/transport/iroh/relay-check.ts';
import { holdTime } from '../../base/async/held-timers.ts';
import { routeTo, serve } from '../../iroh/rig.ts';

/** A host that answers no connect. */
function muteHost(t: Test): { readonly asked: () => number } {
  const hung = mock.method(net, 'connect', () => new Socket());
  syncBuiltinESMExports();
  t.teardown(() => {
    hung.mock.restore();
    syncBuiltinESMExports();
  });
  return { asked: () => hung.mock.callCount() };
}

t.test('a relay is asked beside a dial that takes long', async (t) => {
  const relay = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const url = `http://127.0.0.1:${String((relay.address() as AddressInfo).port)}`;
  const timers = holdTime(t);
  const alive = checkRelay(url);
  t.teardown(() => alive.stop());
  let asked = 0;
  relay.on('connection', () => (asked += 1));
  await timers.pass(999);
  t.equal(asked, 0);
  await timers.pass(1);
  await timers.until('the question', () => asked === 1);
  await timers.until('its answer', () => alive.problem() === undefined);
  await new Promise((resolve) => relay.close(resolve));

  const gone = checkRelay(url);
  t.teardown(() => gone.stop());
  await timers.pass(1000);
  await timers.until('the refusal', () => /ECONNREFUSED/.test(String(gone.problem())));
});

t.test('the doctor says that a relay does not answer, and tries the direct path', async (t) => {
  const server = await serve(t);
  const route = { ...routeTo(server), relayUrl: 'http://relay.invalid' };
  const host = muteHost(t);
  const timers = holdTime(t);
  const steps: ProbeStep[] = [];
  const plan = { destination: { label: 'box' }, budgetMs: 60_000 };
  const trying = tryIroh(plan, route, { ...defaultSettings(), 'iroh.relays': 'disabled' }, steps);
  await timers.until('the question', () => host.asked() === 1);
  await timers.pass(LIMITS.relayAskedMs - 1);
  t.strictSame(steps, []);
  // The limit is computed from a time with fractions of a millisecond.
  await timers.pass(2);
  await timers.until('the report', () => steps.length === 1);
  timers.release();
  t.match(steps[0], { step: 'relay', detail: /does not answer: no answer from the relay relay\.invalid/ });
  await trying;
  t.match(steps[1], { step: 'host' });
});
