// Tests that a daemon that leaves answers what it has taken. Restarts under load are in test/soak/restarts.
import { connect } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { startWorld } from '../engine/world.ts';
import { waitFor } from '../real/index.ts';

t.setTimeout(300_000);

/** One request on a connection of its own, without a second try. */
async function health(path: string): Promise<string> {
  const socket = connect(path);
  socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  return textOf(socket);
}

async function textOf(socket: ReturnType<typeof connect>): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (more: string) => (text += more));
  await once(socket, 'end', { signal: AbortSignal.timeout(60_000) });
  return text;
}

t.test('a control process that leaves answers on the connections that it has accepted', async (t) => {
  const { bmuxd } = await startWorld(t);
  const socket = connect(bmuxd.socketPath);
  const answer = textOf(socket);
  await once(socket, 'connect');
  // An answer to another connection: this one has been accepted.
  await health(bmuxd.socketPath);
  bmuxd.signal('SIGTERM');
  await waitFor('the socket to be gone', async () => (await health(bmuxd.socketPath).catch(() => '')) === '');
  socket.write('GET /v1/health HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  t.match(await answer, /^HTTP\/1\.1 200 OK/);
});
