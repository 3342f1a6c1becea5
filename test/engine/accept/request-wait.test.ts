// Tests what a waiting client is told, and when.
import t from 'tap';
import type { Waiting } from '../../../daemon/api/answers.ts';
import { RequestWait } from '../../../daemon/engine/accept/request-wait.ts';
import type { Destination } from '../../../daemon/engine-protocol/plan.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

const destination: Destination = {
  label: 'tls://ada:secret@h:1',
  route: { transport: 'tls', host: 'h', port: 1, serverName: 'h' },
  compression: ['none'],
  compressionStated: false,
  connectTimeoutMs: 1000,
  warnings: [],
  address: 'tls:h:1',
  context: '00000000',
  runtime: { name: '', socket: '/run/s' },
};

t.test('a client is told after 1 s, and then at each further step until its answer', async (t) => {
  const clock = new FakeClock();
  const told: Waiting[] = [];
  const wait = new RequestWait({ clock, tell: (waiting) => told.push(waiting) });
  const since = clock.now();
  t.strictSame(wait.current, { step: 'planning', sinceMs: since });
  await clock.advance(300);
  wait.enter('connecting', destination);
  await clock.advance(600);
  wait.enter('connecting', destination);
  t.strictSame(told, [], 'nothing is told within 1 s');
  await clock.advance(100);
  const connecting = { step: 'connecting', sinceMs: since + 300, transport: 'tls' };
  t.match(told, [connecting]);
  t.notMatch(told[0]?.target, /secret/);
  await clock.advance(500);
  wait.enter('connecting', destination);
  t.equal(told.length, 1, 'the same step is told once');
  wait.enter('protocol detection', destination);
  t.match(told[1], { step: 'protocol detection', sinceMs: since + 1500 });
  t.strictSame(wait.current, { step: 'protocol detection', sinceMs: since + 1500 });
  wait.end();
  wait.enter('connecting', destination);
  t.equal(told.length, 2, 'nothing follows the answer');
});

t.test('a request that is answered within 1 s leaves no timer', async (t) => {
  const clock = new FakeClock();
  const told: Waiting[] = [];
  const wait = new RequestWait({ clock, tell: (waiting) => told.push(waiting) });
  wait.end();
  t.equal(clock.waiting, 0);
  await clock.advance(2000);
  t.strictSame(told, []);
});
