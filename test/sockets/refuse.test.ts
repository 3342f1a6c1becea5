// A refused client that does not close its side.
import { once } from 'node:events';
import t from 'tap';
import { fail } from '../../daemon/errors/fail.ts';
import { refuse } from '../../daemon/sockets/http-answer.ts';
import { socketPairs } from '../engine/socket-pairs.ts';

t.test('a refused client reads the refusal, and is closed when it does not close', async (t) => {
  const pairs = await socketPairs();
  t.teardown(() => pairs.close());
  const { client, accepted } = await pairs.open();
  let answer = '';
  client.on('error', () => undefined).on('data', (chunk: Buffer) => (answer += chunk.toString()));
  client.write('what is still under way');
  refuse(accepted, fail('stopping').data);
  await once(client, 'end');
  t.match(answer, /^HTTP\/1\.1 503 [^]*"code":"stopping"/);
  t.equal(accepted.destroyed, false, 'it may still close its side');
  await once(accepted, 'close');
  t.pass('it is closed all the same');
});
