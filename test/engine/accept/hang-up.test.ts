// A client that closes its socket is noticed while nothing is read from it. One that has only ended its own side still waits.
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { HangUps } from '../../../daemon/engine/accept/hang-up.ts';
import { isClosedByPeer } from '../../../daemon/sockets/peer.ts';
import { waitFor } from '../../real/index.ts';

t.test('a client that hangs up', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-h-'));
  const accepted: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on('error', () => undefined);
    accepted.push(socket);
  });
  const path = join(folder, 's.sock');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(async () => {
    for (const socket of accepted) socket.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });
  const client = connect({ path, allowHalfOpen: true });
  client.on('error', () => undefined);
  await waitFor('the connection', () => accepted.length === 1);
  const [socket] = accepted;
  if (socket === undefined) return;
  let gone = 0;
  new HangUps().watch(socket, () => (gone += 1));
  t.equal(isClosedByPeer(socket), false);
  await new Promise<void>((resolve) => client.end('its last bytes', resolve));
  t.equal(isClosedByPeer(socket), false, 'its own side alone');
  t.equal(gone, 0);
  client.destroy();
  await waitFor('the hang-up', () => gone === 1);
  t.equal(isClosedByPeer(socket), true);
  t.equal(String(await new Promise((resolve) => socket.once('data', resolve).resume())), 'its last bytes');
});
