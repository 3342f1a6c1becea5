// More targets than there may be target sockets.
import t from 'tap';
import { mostTargetSockets } from '../../../daemon/control/target-sockets/reconciler.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { settle } from '../../base/async/fake-clock.ts';
import { FakeEngine, rigFor } from './reconciler-rig.ts';

t.test('there are at most 512 target sockets', async (t) => {
  const { reconciler, configured, clock, isThere, ensure, until } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  for (let index = 0; index < 512; index += 1) configured.add(`t${String(index)}`);
  await reconciler.open();
  t.ok(await isThere('t511'));
  await t.rejects(ensure('tls://h:1'), { code: 'target_sockets_full' });
  t.equal(reconciler.problem, undefined, 'a request that was refused is told so; nothing is missing');
  for (const name of ['t512', 't513', 't514']) configured.add(name);
  await reconciler.refresh();
  const problem = reconciler.problem?.data;
  t.match(problem, { code: 'target_sockets_missing', remedy: /bmux-stream/ });
  t.match(problem?.detail, /^3 targets .* 512 target sockets/);
  for (const name of ['t513', 't514', 't1']) configured.delete(name);
  await reconciler.refresh();
  await clock.advance(120_000);
  await until('the last one to have its socket', () => reconciler.problem === undefined);
  t.ok(await isThere('t512'));
  configured.delete('t0');
  await reconciler.refresh();
  await settle();
  t.match(await ensure('tls://h:1'), { target: 'tls://h:1' });
});

t.test('targets beyond the limit are neither looked up nor tried while an engine refuses', async (t) => {
  const { reconciler, configured, clock, isThere, lookups, until } = await rigFor(t);
  const engine = new FakeEngine();
  engine.gate = Promise.reject(fail('engine_unavailable'));
  engine.gate.catch(() => undefined);
  reconciler.attach(engine);
  for (let index = 0; index < 2000; index += 1) configured.add(`t${String(index)}`);
  await reconciler.open();
  const made = engine.news().filter((text) => text.startsWith('listen')).length;
  t.equal(made, 512);
  t.ok(lookups.length < 1024, `${lookups.length} lookups`);
  t.match(reconciler.problem?.data.detail, /^1488 targets /);
  engine.gate = Promise.resolve();
  await clock.advance(120_000);
  await until('the last of the first 512', () => isThere('t511'));
  t.notOk(await isThere('t512'));
});

t.test('a process that may open few files keeps most of them for its clients', async (t) => {
  const limits = [64, 1023, 1024, 65_536];
  t.same(limits.map(mostTargetSockets), [16, 255, 512, 512]);
});
