// Tests which contexts have target sockets: at most as many as set, those whose client got one, and the same ones after a restart.
import t from 'tap';
import { fail } from '../../../daemon/errors/fail.ts';
import { contextInputs } from '../../../daemon/control/contexts/context-key.ts';
import { FakeEngine, gate, rigFor } from './reconciler-rig.ts';

t.test('contexts above the maximum lose their target sockets, but not the own context', async (t) => {
  const { reconciler, configured, isThere, until, ensure } = await rigFor(t, { max: 2 });
  const engine = new FakeEngine();
  reconciler.attach(engine);
  configured.add('a');
  await reconciler.open();
  t.match((await ensure('a', { HOST: '1' })).runtimeDir, /targets-00000001\/a$/);
  configured.add('b');
  await ensure('a', { HOST: '2' });
  await until('target sockets of all targets of a new context', () => isThere('b', 'targets-00000002'));
  await until(
    'the first context to lose its target sockets',
    async () => !(await isThere('a', 'targets-00000001')),
  );
  t.ok(await isThere('a', 'targets-00000002'));
  t.ok(await isThere('a'), 'the own context keeps its target sockets');
  configured.delete('b');
  await reconciler.refresh();
  engine.signals.splice(0);

  // A context that a request waits for is not removed.
  const waiting = gate();
  engine.gate = waiting.promise;
  const third = ensure('a', { HOST: '3' });
  await until('the listen to be sent', () => engine.signals.length === 1);
  const fourth = ensure('a', { HOST: '4' });
  await until('the listen to be sent', () => engine.signals.length === 2);
  waiting.open();
  await Promise.all([third, fourth]);
  await until('the older context to be removed', async () => !(await isThere('a', 'targets-00000002')));
  t.ok(await isThere('a', 'targets-00000004'));
});

t.test('a context whose first request fails is not kept', async (t) => {
  const { dir, reconciler, configured, leads, isThere, ensure, until } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  await reconciler.open();
  leads.set('x', fail('tls_host_missing', { name: 'x' }));
  await t.rejects(ensure('x', { HOST: '1' }));
  const { key } = contextInputs({ HOME: dir }, dir, undefined);
  const isUsed = (host?: string): boolean => reconciler.isUsed(key, (env) => env.HOST === host);
  t.strictSame([isUsed(), isUsed('1')], [true, false], 'the context of the failed request is not in use');
  configured.add('a');
  await reconciler.refresh();
  t.ok(await isThere('a'));
  t.notOk(await isThere('a', 'targets-00000001'));
  // One of two requests succeeds.
  const both = await Promise.allSettled([ensure('x', { HOST: '1' }), ensure('a', { HOST: '1' })]);
  t.strictSame(
    both.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
  configured.add('b');
  await reconciler.refresh();
  t.ok(await isThere('b', 'targets-00000001'));

  await reconciler.removeAll();
  const next = await rigFor(t, { dir });
  next.reconciler.attach(new FakeEngine());
  next.configured.add('a');
  await next.reconciler.open();
  await until('target sockets of the saved context', () => isThere('a', 'targets-00000001'));
});
