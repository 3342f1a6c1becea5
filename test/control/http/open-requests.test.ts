// Who holds up a process that leaves.
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import t from 'tap';
import { OpenRequests } from '../../../daemon/control/http/open-requests.ts';

t.test('a request is answered first, and a connection that asks nothing holds nobody up', async (t) => {
  const server = createServer();
  const requests = new OpenRequests(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const open = async () => {
    const accepted = once(server, 'connection');
    const socket = connect(port, '127.0.0.1');
    await accepted;
    return socket.on('error', () => undefined);
  };
  const idle = await open();
  const asking = await open();
  t.teardown(() => {
    idle.destroy();
    asking.destroy();
    server.close();
  });
  asking.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  let over = false;
  const answered = requests.answered(600_000).then(() => (over = true));
  await requests.answered(1000);
  t.equal(over, false, 'the request is waited for');
  response.end();
  await answered;
  t.equal(idle.closed, false);
});
