// Tests how long a client tries again: each reason has its own time.
import t from 'tap';
import { Patience } from '../../client-shim/patience.ts';

t.test('each reason has its own time from its first occurrence on', async (t) => {
  const patience = new Patience();
  t.equal(patience.isOver('daemon_not_running', 15_000, 0), false);
  t.equal(patience.isOver('daemon_not_running', 15_000, 14_000), false);
  t.equal(patience.isOver('engine_unavailable', 10_000, 14_500), false, 'the daemon has begun to start');
  t.equal(patience.isOver('engine_unavailable', 10_000, 24_000), false);
  t.equal(patience.isOver('engine_unavailable', 10_000, 24_600), true);
  t.equal(patience.isOver('daemon_not_running', 15_000, 16_000), true, 'reasons that take turns end, too');
});
