// Tests that a daemon that leaves answers what it has taken, and that the next one waits for nothing for ever. Restarts under load are in test/soak/restarts.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { warmLikePredecessor } from '../../daemon/control/predecessor.ts';
import type { Plan } from '../../daemon/engine-protocol/plan.ts';
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

t.test(
  'a target that is warm at the former daemon and does not get warm here is not waited for',
  async (t) => {
    const row = { target: 'far', address: 'tls:h:1', transport: 'tls', state: 'warm', warm: true };
    const status = {
      schema: 1,
      state: 'ready',
      pid: 1,
      version: '1',
      sinceMs: 1,
      socket: '/s',
      streams: 0,
      engines: [],
      contexts: [],
      problems: [],
      upstreams: [{ ...row, spares: 1, connections: 1, streams: 0 }],
    };
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
    const instanceSocket = join(folder, 'i.sock');
    const former = createServer((_request, response) =>
      response.setHeader('content-type', 'application/json').end(JSON.stringify(status)),
    );
    await new Promise<void>((resolve) => former.listen(instanceSocket, resolve));
    t.teardown(() => {
      former.close();
      return rm(folder, { recursive: true });
    });
    const told: string[] = [];
    let looks = 0;
    await warmLikePredecessor({
      instanceSocket,
      planFor: () => Promise.resolve({ destination: { address: row.address } } as unknown as Plan),
      tell: ({ type }) => told.push(type),
      upstreams: () => {
        looks += 1;
        return Promise.resolve([]);
      },
    });
    t.same(told, ['warm']);
    t.ok(looks > 1, 'it has waited');
  },
);
