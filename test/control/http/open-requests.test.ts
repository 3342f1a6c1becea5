// Who holds up a process that leaves.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

const skip = process.platform !== 'linux' && 'no /proc/net/unix';
t.test('clients in the queue are accepted before the socket is closed', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'open-requests-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 's');
  const server = createServer((_, response) => response.end('yes'));
  const requests = new OpenRequests(server);
  server.listen(path);
  await once(server, 'listening');
  // This process reads nothing while they come, and its event loop accepts one connection in each round.
  const client = `const { get } = require('node:http'); let left = 5;
    for (let i = 0; i < 5; i++) get({ socketPath: process.argv[1] }, (answer) => (left -= 1) || process.exit()).on('error', (error) => { throw error; })
      .once('socket', (socket) => socket.on('connect', () => process.stdout.write('.')))`;
  const asking = spawn(process.execPath, ['-e', client, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(asking, 'exit');
  const connected = spawnSync(
    'sh',
    ['-c', `while [ "$(grep -c ' ${path}$' /proc/net/unix)" -lt 6 ]; do sleep 0.05; done`],
    { timeout: 60_000 },
  );
  t.equal(connected.status, 0);
  await requests.acceptNoMore();
  await requests.answered(60_000);
  t.same(await ended, [0, null]);
});
