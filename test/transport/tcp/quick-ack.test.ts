// Tests that received bytes are acknowledged at once, as TCP_QUICKACK of tcp(7) says it.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t from 'tap';
import { cLibrary } from '../../../daemon/base/c-library.ts';
import { descriptorOf } from '../../../daemon/base/node-internals.ts';
import { acknowledgeNow } from '../../../daemon/transport/tcp/quick-ack.ts';

const [IPPROTO_TCP, TCP_QUICKACK, INT_BYTES] = [6, 12, 4];
const skip = process.platform !== 'linux' && 'Linux only';

t.test('a connection that delays acknowledgements does so no more', { skip }, async (t) => {
  const server = createServer((accepted) => accepted.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const library = cLibrary();
  const set = library.func('int setsockopt(int fd, int level, int name, const int *value, uint32_t length)');
  const get = library.func(
    'int getsockopt(int fd, int level, int name, _Out_ int *value, _Inout_ uint32_t *length)',
  );
  const isQuick = (one: Socket): boolean => {
    const value = [0];
    t.equal(get(descriptorOf(one), IPPROTO_TCP, TCP_QUICKACK, value, [INT_BYTES]), 0);
    return value[0] === 1;
  };
  t.equal(set(descriptorOf(socket), IPPROTO_TCP, TCP_QUICKACK, [0], INT_BYTES), 0);
  t.equal(isQuick(socket), false);
  acknowledgeNow(socket);
  t.equal(isQuick(socket), true);
  socket.destroy();
  acknowledgeNow(socket);
  t.pass('a closed connection is left alone');
});
