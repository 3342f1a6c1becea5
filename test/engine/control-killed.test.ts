// kill -9 of control under live streams over every transport: not a byte is lost, and a new control sees, lists and ends them.
import t from 'tap';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { realRelay, waitFor } from '../real/index.ts';
import type { StreamList } from '../../daemon/api/answers.ts';
import { startWorld, Talk } from './world.ts';

t.test('10 live streams outlive their control', async (t) => {
  const world = await startWorld(t, { relay: true });
  const { bmuxd, targets } = world;
  if (realRelay() === undefined) t.comment('the real iroh-relay was not found: no stream goes through one');
  const talks = await Promise.all(
    Array.from({ length: 10 }, (_, index) => Talk.open(bmuxd, targets[index % targets.length] ?? 'local')),
  );
  for (const talk of talks) talk.start();
  await waitFor('traffic on all', () => talks.every(({ check }) => check.count > 20_000));
  await bmuxd.killControl();
  const atDeath = talks.map(({ check }) => check.count);
  await waitFor('traffic to go on without control', () =>
    talks.every(({ check }, index) => check.count > (atDeath[index] ?? 0) + 200_000),
  );
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  const list = (await next.http('GET', '/v1/streams')).body as StreamList;
  t.equal(list.streams.length, 10, 'the new control lists them');
  t.ok(list.streams.every(({ state, bytesUp }) => state === 'live' && bytesUp > 0));
  await waitFor('both engines in its status', async () => {
    const states = (await next.status()).engines.map(({ state }) => state);
    return states.length === 2 && states.includes('draining') && states.includes('serving');
  });
  for (const talk of talks) await talk.quiet();
  t.pass('every byte came back once, in order');

  const [one] = list.streams;
  t.equal((await next.http('DELETE', `/v1/streams/${one?.id ?? ''}`)).status, 202);
  await waitFor('that one to end', () => talks.filter(({ incoming }) => incoming.ended).length === 1);
  await waitFor('it to be over', async () => {
    return (await next.http('DELETE', `/v1/streams/${one?.id ?? ''}`)).status === 404;
  });
  const fresh = await Talk.open(next, 'tls');
  fresh.start();
  await fresh.quiet();
  const stopped = await next.bmuxd(['stop']);
  t.equal(stopped.status, 0);
  t.ok(
    [...talks, fresh].every(({ incoming }) => incoming.ended),
    'bmuxd stop has ended them all',
  );
  t.strictSame(await next.engines(), [], 'and no engine is left');
  await world.nothingHeld();
});
