// The optimistic stream over real sockets, alone and in a splice.
import { once } from 'node:events';
import t from 'tap';
import { helloOpening } from '../../../daemon/hello/expected-answer.ts';
import { OptimisticStream } from '../../../daemon/hello/optimistic.ts';
import { Splice } from '../../../daemon/splice/splice.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { socketPairs } from '../../engine/socket-pairs.ts';
import { readAll, readBytes } from '../../transport/dialling.ts';
import { answer, EPOCH, EXPECTED, GREETING, HELLO } from './rig.ts';

const STOP = encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' });

const pairs = await socketPairs();
t.teardown(() => pairs.close());
const start = async () => {
  const { client: inner, accepted: server } = await pairs.open();
  const stream = new OptimisticStream({
    inner,
    epoch: EPOCH,
    opening: helloOpening(EPOCH, GREETING, EXPECTED),
    label: 'prod',
    expected: EXPECTED,
    answerMs: 60_000,
    limitMs: 60_000,
    onConfirmed: () => undefined,
    onFailed: () => undefined,
    reopen: () => Promise.reject(new Error('no second stream')),
  });
  return { inner, server, stream };
};

t.test('Hello and request arrive before the answer, and both ends are passed on', async (t) => {
  const { server, stream, inner } = await start();
  stream.end(STOP);
  t.strictSame(await readAll(server.resume()), Buffer.concat([HELLO, STOP]));
  server.end(Buffer.concat([answer(), Buffer.from('stopping')]));
  t.equal((await readAll(stream)).toString(), 'stopping');
  if (!inner.closed) await once(inner, 'close');
});

t.test('an error without a listener destroys the stream and not the process', async (t) => {
  const { server, stream } = await start();
  stream.write(STOP);
  server.end();
  await new Promise((resolve) => stream.once('close', resolve));
  t.match(stream.errored, { code: 'optimistic_open_failed' });
});

t.test('a destroyed stream ends the socket gracefully', async (t) => {
  const { server, stream } = await start();
  stream.destroy();
  t.strictSame(await readAll(server.resume()), HELLO, 'an end, not a reset');
  server.end();
});

t.test('a splice reports the difference of the answer', async (t) => {
  const { server, stream } = await start();
  const { client, accepted } = await pairs.open();
  const splice = new Splice({ client: accepted, remote: stream, clientBufferLimit: 0 });
  accepted.resume();
  client.write(STOP);
  await readBytes(server.resume(), HELLO.length + STOP.length);
  server.write(answer({ ...EXPECTED, revision: 2 }));
  server.resume();
  server.on('end', () => server.end());
  client.resume();
  client.on('end', () => client.end());
  t.match(await splice.done, { reason: 'remote lost', why: /negotiates something else/ });
});
