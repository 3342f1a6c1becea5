// Tests that the options of a TCP connection reach the kernel.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { acknowledgeNow, askOften } from '../../../daemon/transport/tcp/options.ts';
import { optionOf, setOption, TCP_QUICKACK, TCP_RTO_MAX_MS } from './kernel.ts';

const skip = process.platform !== 'linux' && 'Linux only';

async function connection(t: Test): Promise<Socket> {
  const server = createServer((accepted) => accepted.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

t.test('a connection that delays acknowledgements does so no more', { skip }, async (t) => {
  const socket = await connection(t);
  setOption(socket, TCP_QUICKACK, 0);
  t.equal(optionOf(socket, TCP_QUICKACK), 0);
  acknowledgeNow(socket);
  t.equal(optionOf(socket, TCP_QUICKACK), 1);
  socket.destroy();
  acknowledgeNow(socket);
  t.pass('a closed connection is left alone');
});

t.test('the pauses between questions to a full window are limited for a time', { skip }, async (t) => {
  const socket = await connection(t);
  const usual = optionOf(socket, TCP_RTO_MAX_MS);
  askOften(socket, true);
  if (usual === undefined) {
    t.pass('# SKIP: this kernel has no such option');
    return;
  }
  t.equal(optionOf(socket, TCP_RTO_MAX_MS), 1000);
  askOften(socket, false);
  t.equal(optionOf(socket, TCP_RTO_MAX_MS), usual);
});
