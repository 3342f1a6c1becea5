// What a failed write does to the reading; the sockets themselves are in test/splice and test/transport.
import { Duplex } from 'node:stream';
import t from 'tap';
import { outliveWrites } from '../../daemon/base/outlive-writes.ts';
import { waitFor } from '../real/child.ts';

/** A peer that says nothing, and whose writes end with `code`. */
function peer(code: string, patienceMs: number): { stream: Duplex; errors: string[] } {
  const stream = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    final: (done) => {
      done();
    },
    write: (_chunk, _encoding, done) => {
      done(Object.assign(new Error(`write ${code}`), { code }));
    },
  });
  const errors: string[] = [];
  stream.on('error', (error) => errors.push(error.message));
  outliveWrites(stream, patienceMs);
  t.teardown(() => stream.destroy());
  return { stream, errors };
}

t.test('a peer that takes nothing more and does not end: the write fails after the given time', async (t) => {
  const { stream, errors } = peer('EPIPE', 50);
  stream.resume().write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, ['write EPIPE']);
});

t.test('the time counts while somebody reads', async (t) => {
  const { stream, errors } = peer('ECONNRESET', 50);
  stream.pause().write('x');
  stream.push('the last word');
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.equal(stream.destroyed, false);
  let read = '';
  stream.on('data', (chunk: Buffer) => (read += chunk.toString())).resume();
  stream.push(null);
  await waitFor('the stream to be closed', () => stream.closed);
  t.same([read, errors], ['the last word', []]);
});

t.test('every other error is one at once', async (t) => {
  const { stream, errors } = peer('ETIMEDOUT', 60_000);
  stream.resume().write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, ['write ETIMEDOUT']);
});

t.test('nothing is left to be read: no error either', async (t) => {
  const { stream, errors } = peer('EPIPE', 60_000);
  stream.resume().push(null);
  await waitFor('the end', () => stream.readableEnded);
  stream.write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, []);
});
