// Tests kill -9 of control with live streams over every transport: no byte is lost, and the next control lists and ends the streams.
import t from 'tap';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { realRelay, waitFor } from '../real/index.ts';
import type { StreamList } from '../../daemon/api/answers.ts';
import { startWorld, Talk } from './world.ts';

t.test('10 live streams go on when control is killed', async (t) => {
  const world = await startWorld(t, { relay: true });
  const { bmuxd, targets } = world;
  if (realRelay() === undefined) t.comment('real iroh-relay not found: no stream goes through a relay');
  const talks = await Promise.all(
    Array.from({ length: 10 }, (_, index) => Talk.open(bmuxd, targets[index % targets.length] ?? 'local')),
  );
  for (const talk of talks) talk.start();
  await waitFor('traffic on all streams', () => talks.every(({ check }) => check.count > 20_000));
  await bmuxd.killControl();
  const atDeath = talks.map(({ check }) => check.count);
  await waitFor('traffic to go on without control', () =>
    talks.every(({ check }, index) => check.count > (atDeath[index] ?? 0) + 200_000),
  );
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  const list = (await next.http('GET', '/v1/streams')).body as StreamList;
  t.equal(list.streams.length, 10, 'the next control lists the streams');
  t.ok(list.streams.every(({ state, bytesUp }) => state === 'live' && bytesUp > 0));
  await waitFor('both engines in its status', async () => {
    const states = (await next.status()).engines.map(({ state }) => state);
    return states.length === 2 && states.includes('draining') && states.includes('serving');
  });
  for (const talk of talks) await talk.quiet();
  t.pass('every byte came back once, in order');

  const [one] = list.streams;
  t.equal((await next.http('DELETE', `/v1/streams/${one?.id ?? ''}`)).status, 202);
  await waitFor('the stream to end', () => talks.filter(({ incoming }) => incoming.ended).length === 1);
  await waitFor('the stream to be removed from the list', async () => {
    return (await next.http('DELETE', `/v1/streams/${one?.id ?? ''}`)).status === 404;
  });
  const fresh = await Talk.open(next, 'tls');
  fresh.start();
  await fresh.quiet();
  const stopped = await next.bmuxd(['stop']);
  t.equal(stopped.status, 0);
  t.ok(
    [...talks, fresh].every(({ incoming }) => incoming.ended),
    'bmuxd stop ended all streams',
  );
  t.strictSame(await next.engines(), [], 'no engine is left');
  await world.nothingHeld();
});
