// When an end of a server counts as a consequence of a client that did not read.
import { mock } from 'node:test';
import t from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { Hold } from '../../daemon/splice/hold.ts';

t.test('a client that did not read is blamed after a long hold, and for a while', async (t) => {
  let now = 1000;
  const clock = mock.method(performance, 'now', () => now);
  t.teardown(() => {
    clock.mock.restore();
  });
  const held = (ms: number): Hold => {
    const hold = new Hold();
    hold.begin();
    now += ms;
    hold.end(1);
    return hold;
  };
  t.equal(held(LIMITS.serverPatienceMs - 1).blame(1), undefined, 'a server waits for longer');
  const hold = held(LIMITS.serverPatienceMs);
  t.equal(hold.blame(1), LIMITS.serverPatienceMs);
  now += 2 * LIMITS.blameMs;
  t.equal(hold.blame(1), LIMITS.serverPatienceMs, 'the client has not caught up');
  hold.caughtUp();
  now += LIMITS.blameMs;
  t.equal(hold.blame(1), LIMITS.serverPatienceMs);
  now += 1;
  t.equal(hold.blame(1), undefined);

  const many = 1024 * 1024;
  const slow = held(LIMITS.serverPatienceMs);
  slow.caughtUp();
  now += 3 * LIMITS.blameMs;
  t.equal(slow.blame(1 + many), LIMITS.serverPatienceMs, 'what was under way has taken that long to arrive');
  now += LIMITS.blameMs;
  t.equal(slow.blame(1 + many), LIMITS.serverPatienceMs);
  now += LIMITS.blameMs;
  t.equal(slow.blame(1 + many), undefined);
});
