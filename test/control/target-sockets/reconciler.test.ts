// Tests which target sockets are made and what the engine is sent: only what has changed, and no target socket waits for another.
import { join } from 'node:path';
import { chmod, readdir, readlink, rename, rm, writeFile } from 'node:fs/promises';
import t from 'tap';
import { fail } from '../../../daemon/errors/fail.ts';
import type { TargetSocketReconciler } from '../../../daemon/control/target-sockets/reconciler.ts';
import { settle } from '../../base/async/fake-clock.ts';
import { FakeEngine, gate, rigFor } from './reconciler-rig.ts';

t.test('only what has changed is sent', async (t) => {
  const { reconciler, configured, leads, lookups, isThere } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  for (const name of ['a', 'b', 'c']) configured.add(name);
  await reconciler.open();
  t.strictSame(engine.news(), ['listen a 1', 'listen b 1', 'listen c 1']);
  leads.set('b', 2);
  configured.add('d');
  configured.delete('c');
  await reconciler.refresh();
  await settle();
  t.strictSame(engine.news(), ['close c', 'listen d 1', 'update b 2']);
  t.strictSame(await Promise.all(['a', 'b', 'c', 'd'].map((name) => isThere(name))), [
    true,
    true,
    false,
    true,
  ]);
  await reconciler.refresh();
  t.strictSame(engine.news(), [], 'nothing is sent when nothing has changed');
  leads.set('a', fail('tls_host_missing', { name: 'a' }));
  await reconciler.refresh();
  t.strictSame(engine.news(), ['close a'], 'a target with an invalid config has no socket');
  leads.set('a', 3);
  const before = lookups.length;
  await reconciler.refresh('another key');
  t.equal(lookups.length, before, 'a change in another context resolves nothing here');
  await reconciler.refresh();
  t.strictSame(engine.news(), ['listen a 3']);
});

t.test('one that this machine refuses is named, and made soon after it can be', async (t) => {
  const { dir, reconciler, configured, lookups, clock, isThere, until } = await rigFor(t);
  reconciler.attach(new FakeEngine());
  // A file where the folder should be: root, too, can make nothing in it.
  await writeFile(join(dir, 'targets'), '');
  configured.add('one');
  await reconciler.open();
  const problem = reconciler.problem?.data;
  t.match(problem, { code: 'runtime_dir_unwritable', detail: /targets: E(NOTDIR|EXIST)/, remedy: /room/ });
  for (let pause = 0; pause < 5; pause += 1) {
    await clock.advance(60_000);
    await settle();
  }
  t.strictSame(lookups, ['one'], 'no attempt looks it up again');
  await rm(join(dir, 'targets'));
  await until('the target socket', async () => {
    await clock.advance(5000);
    return isThere('one');
  });
  await until('the end of the problem', () => reconciler.problem === undefined);
});

t.test('a failed target socket is tried again with growing waits, without the others', async (t) => {
  const { reconciler, configured, leads, lookups, clock, until } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  for (const name of ['bad', 'good']) configured.add(name);
  leads.set('bad', fail('out_of_time', { ms: 1, step: 'a test' }));
  await reconciler.open();
  t.strictSame(engine.news(), ['listen good 1']);
  lookups.splice(0);
  await clock.advance(1900);
  t.strictSame(lookups, []);
  await clock.advance(200);
  t.strictSame(lookups, ['bad'], 'after 2 s');
  await clock.advance(3000);
  t.strictSame(lookups, ['bad'], 'not again within 3 s');
  await clock.advance(1100);
  t.strictSame(lookups, ['bad', 'bad'], 'after 4 s more');
  leads.set('bad', 5);
  await clock.advance(8100);
  await until('the target socket to be made', () => engine.said.length > 0);
  t.strictSame(engine.news(), ['listen bad 5']);
  await clock.advance(120_000);
  t.strictSame(lookups, ['bad', 'bad', 'bad'], 'no further attempt after a success');
});

t.test('a target socket whose lookup or engine hangs delays no other', async (t) => {
  const { reconciler, configured, leads, until, ensure } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  configured.add('slow');
  configured.add('quick');
  const slow = gate<number>();
  leads.set('slow', () => slow.promise);
  void reconciler.open();
  await until('the other target socket', () => engine.said.includes('listen quick 1'));
  const waiting = gate();
  engine.gate = waiting.promise;
  const inline = ensure('tls://h:7');
  await until('the listen to be sent', () => engine.said.includes('listen tls://h:7 1'));
  leads.set('quick', 2);
  const id = engine.signals.length;
  await renew(reconciler, engine, 'quick');
  t.equal(engine.signals.length, id);
  await until('an update while another target socket waits for the engine', () =>
    engine.said.includes('update quick 2'),
  );
  waiting.open();
  t.match(await inline, { target: 'tls://h:7' });
  slow.open(9);
  await until('the slow target socket', () => engine.said.includes('listen slow 9'));
});

t.test('an aborted request stops its work', async (t) => {
  const { dir, reconciler, leads, until, ensure } = await rigFor(t);
  await reconciler.open();
  const late = new AbortController();
  const failure = fail('engine_unavailable', { why: 'a test' });

  // There is no engine yet.
  const asked = ensure('tls://h:1', undefined, late.signal);
  /** Entries of the folder, without the file for shells. */
  const entries = async (): Promise<string[]> =>
    (await readdir(join(dir, 'targets')).catch((): string[] => [])).filter((name) => name !== '.shell');
  await until('the socket to be bound', async () => (await entries()).length > 0);
  late.abort(failure);
  await t.rejects(asked, { code: 'engine_unavailable' });
  await until('its folder to be gone', async () => (await entries()).length === 0);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  await settle();
  t.strictSame(engine.news(), [], 'a later engine is sent nothing of the aborted request');

  const never = gate();
  engine.gate = never.promise;
  const second = new AbortController();
  const sent = ensure('tls://h:2', undefined, second.signal);
  await until('the listen to be sent', () => engine.signals.length > 0);
  second.abort(failure);
  await t.rejects(sent, { code: 'engine_unavailable' });
  await until('the close to be sent', () => engine.said.includes('close tls://h:2'));
  t.ok(engine.signals[0]?.aborted);

  const third = new AbortController();
  let looking: AbortSignal | undefined;
  leads.set('bmux://x', (signal) => {
    looking = signal;
    return new Promise(() => undefined);
  });
  const lookup = ensure('bmux://x', undefined, third.signal);
  await until('the lookup', () => looking !== undefined);
  third.abort(failure);
  await t.rejects(lookup, { code: 'engine_unavailable' });
  await until('the lookup to be aborted', () => looking?.aborted === true);
});

t.test('a later engine is sent all target sockets', async (t) => {
  const { reconciler, configured, until, isThere, ensure } = await rigFor(t);
  configured.add('a');
  configured.add('b');
  const opened = reconciler.open();
  const inline = ensure('tls://h:1');
  await settle();
  t.notOk(await isThere('a'), 'without an engine there is no path yet, because a connect would be refused');
  const first = new FakeEngine();
  reconciler.attach(first);
  await Promise.all([opened, inline]);
  const everything = ['listen a 1', 'listen b 1', 'listen tls://h:1 1'];
  t.strictSame(first.news(), everything);
  reconciler.detach(first);
  const second = new FakeEngine();
  reconciler.attach(second);
  t.strictSame(second.news(), everything);

  // When an engine ends before it listens, the next one listens.
  const never = gate();
  second.gate = never.promise;
  const asked = ensure('tls://h:2');
  await until('the listen to be sent', () => second.said.length > 0);
  reconciler.detach(second);
  const third = new FakeEngine();
  reconciler.attach(third);
  await asked;
  t.strictSame(third.news(), [...everything, 'listen tls://h:2 1']);
});

t.test(
  'a removed target loses its socket, an inline target keeps it while its control plane is away',
  async (t) => {
    const { reconciler, configured, leads, isThere, ensure } = await rigFor(t);
    const engine = new FakeEngine();
    reconciler.attach(engine);
    configured.add('a');
    await reconciler.open();
    await ensure('x');
    engine.news();
    leads.set('x', fail('control_plane_unreachable', { url: 'u' }));
    leads.set('a', fail('out_of_time', { ms: 1, step: 'a test' }));
    await reconciler.refresh();
    t.ok(await isThere('x'));
    t.ok(await isThere('a'), 'a configured target keeps its socket when resolving times out');
    await t.rejects(ensure('x'), { code: 'control_plane_unreachable' });
    t.ok(await isThere('x'), 'the socket stays after a failed request');
    t.strictSame(engine.news(), []);
    configured.delete('a');
    await reconciler.refresh();
    await settle();
    t.strictSame(engine.news(), ['close a']);
    t.notOk(await isThere('a'));
  },
);

t.test('a newer destination is kept when an older lookup ends later', async (t) => {
  const { reconciler, leads, lookups, clock, ensure, until } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  await reconciler.open();
  await ensure('x');
  engine.news();
  const late = gate<number>();
  leads.set('x', () => late.promise);
  const [first, second] = [renew(reconciler, engine, 'x'), settle()];
  await second;
  const count = lookups.length;
  clock.jump(100);
  leads.set('x', 3);
  const soon = renew(reconciler, engine, 'x');
  await settle();
  t.equal(lookups.length, count, 'a lookup that has just begun is not given up');
  clock.jump(500);
  await renew(reconciler, engine, 'x');
  await Promise.all([first, soon]);
  t.ok(engine.said.includes('update x 3'));
  late.open(2);
  await settle();
  t.notOk(engine.said.includes('update x 2'));

  engine.news();
  await renew(reconciler, engine, 'x');
  t.strictSame(engine.news(), [], 'nothing is sent when the destination is the same');
  leads.set('x', fail('control_plane_unreachable', { url: 'u' }));
  await t.rejects(renew(reconciler, engine, 'x'), { code: 'control_plane_unreachable' });
  leads.set('x', 4);
  t.match(await renew(reconciler, engine, 'x'), { address: 'tls:h:4' });
  await until('the update to be sent', () => engine.said.includes('update x 4'));
});

t.test('a lookup that is given up repeatedly gets more time each time', async (t) => {
  const { reconciler, leads, lookups, clock, ensure } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  await reconciler.open();
  await ensure('x');
  lookups.splice(0);
  leads.set('x', () => new Promise(() => undefined));
  const renewals: Promise<unknown>[] = [];
  for (let ask = 0; ask < 40; ask += 1) {
    renewals.push(renew(reconciler, engine, 'x'));
    await settle();
    clock.jump(500);
  }
  // Lookups start at once, and after 0.5, 1, 2, 4 and 8 s.
  t.equal(lookups.length, 6);
  reconciler.close();
  await Promise.all(renewals);
});

t.test('a path whose link was moved away is made again', async (t) => {
  const { dir, reconciler, configured, clock, until, isThere } = await rigFor(t);
  const engine = new FakeEngine();
  reconciler.attach(engine);
  configured.add('a');
  await reconciler.open();
  engine.news();
  const link = join(dir, 'targets', 'a');
  const before = await readlink(link);
  await chmod(join(dir, 'targets'), 0o700);
  await rename(link, `${link}-aside`);
  await clock.advance(9000);
  await until('the path to lead to our socket', () => isThere('a'));
  t.not(await readlink(link), before);
  await until('the listen to be sent', () => engine.said.length > 0);
  t.strictSame(engine.news(), ['listen a 1']);
});

/** Asks as the engine does, with the id of the target socket whose destination is unreachable. */
function renew(
  reconciler: TargetSocketReconciler,
  engine: FakeEngine,
  target: string,
): ReturnType<TargetSocketReconciler['resolveAgain']> {
  return reconciler.resolveAgain(engine.ids.get(target) ?? '');
}
