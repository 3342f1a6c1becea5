// A client that closes its socket is noticed while nothing is read from it. One that has only ended its own side still waits.
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { HangUps } from '../../../daemon/engine/accept/hang-up.ts';
import { closedByPeers } from '../../../daemon/sockets/peer.ts';
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
  t.strictSame(closedByPeers([socket]), []);
  await new Promise<void>((resolve) => client.end('its last bytes', resolve));
  t.strictSame(closedByPeers([socket]), [], 'its own side alone');
  t.equal(gone, 0);
  client.destroy();
  await waitFor('the hang-up', () => gone === 1);
  t.ok(closedByPeers([socket]).includes(socket));
  t.equal(String(await new Promise((resolve) => socket.once('data', resolve).resume())), 'its last bytes');
});

t.test('those of many that hang up are found together', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-h-'));
  const accepted: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    accepted.push(socket.on('error', () => undefined));
  });
  const path = join(folder, 's.sock');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const clients: Socket[] = [];
  for (let at = 0; at < 100; at += 1) {
    clients.push(connect({ path, allowHalfOpen: true }).on('error', () => undefined));
    await waitFor('the connection', () => accepted.length === at + 1);
  }
  t.teardown(async () => {
    for (const socket of [...clients, ...accepted]) socket.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });
  const hangUps = new HangUps();
  const gone: number[] = [];
  const stops = accepted.map((socket, at) => hangUps.watch(socket, () => gone.push(at)));
  for (const at of [0, 7, 99]) clients[at]?.destroy();
  clients[50]?.end();
  accepted[20]?.destroy();
  await waitFor('their ends', () => gone.length >= 4);
  t.strictSame(
    gone.sort((a, b) => a - b),
    [0, 7, 20, 99],
  );
  for (const stop of stops) stop();
  t.strictSame(
    closedByPeers(accepted),
    [0, 7, 99].map((at) => accepted[at]),
  );
});
