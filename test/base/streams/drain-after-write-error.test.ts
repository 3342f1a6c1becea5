// Tests how a failed write affects reading; test/splice and test/transport do so with sockets.
import { Duplex } from 'node:stream';
import t from 'tap';
import { drainAfterWriteError } from '../../../daemon/base/streams/drain-after-write-error.ts';
import { waitFor } from '../../real/child.ts';

/** A peer that sends nothing, and whose writes fail with `code`. */
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
  drainAfterWriteError(stream, patienceMs);
  t.teardown(() => stream.destroy());
  return { stream, errors };
}

t.test('the write error is emitted after the given time when the peer does not end', async (t) => {
  const { stream, errors } = peer('EPIPE', 50);
  stream.resume().write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, ['write EPIPE']);
});

t.test('received data restarts that time', async (t) => {
  const { stream, errors } = peer('EPIPE', 400);
  stream.resume().write('x');
  for (let count = 0; count < 12; count += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    stream.push('more');
  }
  t.equal(stream.destroyed, false);
  stream.push(null);
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, []);
});

t.test('after a reset, received data is still read, then the error follows instead of the end', async (t) => {
  const { stream, errors } = peer('ECONNRESET', 60_000);
  let ended = false;
  stream.on('end', () => (ended = true)).pause();
  stream.write('x');
  stream.push('last bytes');
  stream.push(null);
  await waitFor('the error', () => errors.length > 0);
  t.same([String(stream.read()), ended, errors], ['last bytes', false, ['write ECONNRESET']]);
});

t.test('callbacks of writes and of the end are still called', async (t) => {
  const { stream } = peer('EPIPE', 60_000);
  stream.resume();
  await new Promise((resolve) => stream.write('x', resolve));
  await new Promise((resolve) => stream.write('y', resolve));
  await new Promise<void>((resolve) => stream.end(resolve));
  t.equal(stream.destroyed, false);
  stream.push(null);
  await waitFor('the stream to be closed', () => stream.closed);
});

t.test('any other error is emitted at once', async (t) => {
  const { stream, errors } = peer('ETIMEDOUT', 60_000);
  stream.resume().write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, ['write ETIMEDOUT']);
});

t.test('a write error after the end of reading is not emitted', async (t) => {
  const { stream, errors } = peer('EPIPE', 60_000);
  stream.resume().push(null);
  await waitFor('the end', () => stream.readableEnded);
  stream.write('x');
  await waitFor('the stream to be closed', () => stream.closed);
  t.same(errors, []);
});
