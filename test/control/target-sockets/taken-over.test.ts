// Tests a daemon that another one replaces while it still makes its target sockets, as when several restart at once.
import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { FakeEngine, gate, rigFor } from './reconciler-rig.ts';

t.test('it leaves the paths to the other daemon', async (t) => {
  let isOurs = true;
  const late = await rigFor(t, { isOurs: () => isOurs });
  const winner = await rigFor(t, { dir: late.dir });
  const [slow, engine] = [new FakeEngine(), new FakeEngine()];
  const waiting = gate();
  slow.gate = waiting.promise;
  late.reconciler.attach(slow);
  const refused = t.rejects(late.ensure('a'), { code: 'stopping' });
  await late.until('the slow engine to have the socket', () => slow.said.includes('listen a 1'));

  isOurs = false;
  winner.reconciler.attach(engine);
  await winner.ensure('a');
  const link = join(winner.dir, 'targets', 'a');
  const before = await readlink(link);
  waiting.open();
  await refused;
  t.equal(await readlink(link), before);
  await late.reconciler.removeAll();
  t.equal(await readlink(link), before);
  t.ok(await winner.isThere('a'));
});
