// Tests that a daemon takes over from another one: streams go on, nothing is refused, and the former daemon leaves the sockets alone.
import { connect } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { errnoOf } from '../../daemon/base/failure.ts';
import { isRunning } from '../../daemon/base/process/identity.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { TestClient } from '../embedded/client.ts';
import { startWorld, Talk } from '../engine/world.ts';
import { waitFor } from '../real/index.ts';
import { startLoad } from '../target-sockets/load.ts';
import { targetSocketIs, targetSocketPath } from '../target-sockets/target-socket.ts';

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

function isRefusal(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET';
}

t.test('bmuxd restart: live streams go on, and no connection is refused', async (t) => {
  const { bmuxd } = await startWorld(t);
  const path = targetSocketPath(bmuxd, 'tls');
  await targetSocketIs(true, path);
  const talks = await Promise.all(['local', 'tls', 'iroh'].map((target) => Talk.open(bmuxd, target)));
  for (const talk of talks) talk.start();
  const load = startLoad(path, 2);
  const failures: unknown[] = [];
  let isOver = false;
  const loop = async (work: () => Promise<unknown>): Promise<void> => {
    while (!isOver) {
      await work().catch((error: unknown) => failures.push(error));
      await sleep(5);
    }
  };
  const loops = [
    loop(async () => {
      const text = await health(bmuxd.socketPath);
      if (!text.startsWith('HTTP/1.1 200')) throw new Error(`answer: ${text}`);
    }),
    loop(async () => {
      const { stream } = await bmuxd.open({ target: 'local' });
      await new TestClient(stream).ping();
      stream.destroy();
    }),
  ];
  let former = bmuxd.pid;
  // Seen by a bare connect, which nothing tries again: refused only while there is no daemon.
  let refused = 0;
  for (const how of ['restart', 'SIGKILL', 'restart', 'SIGTERM'] as const) {
    await load.more(5);
    const before = failures.length;
    if (how !== 'restart') {
      process.kill(former, how);
      await waitFor('control to end', () => !isRunning({ pid: former }));
    }
    const ran = await bmuxd.bmuxd([how === 'restart' ? how : 'start']);
    t.match(ran, { status: 0, stdout: /^bmuxd has (re)?started: ready, pid \d+, / }, how);
    const { pid } = (await bmuxd.http('GET', '/v1/health')).body as { pid: number };
    t.not(pid, former, `${how}: another process answers`);
    await waitFor('the former one to leave', () => !isRunning({ pid: former }));
    former = pid;
    if (how === 'restart') continue;
    const met = failures.splice(before);
    failures.push(...met.filter((error) => !isRefusal(error)));
    refused += met.filter(isRefusal).length;
  }
  t.comment(`${String(refused)} bare connects without a daemon`);
  await load.more(5);
  isOver = true;
  await Promise.all(loops);
  await load.stop();
  t.same(failures, [], 'no request failed');
  t.same(load.failures, [], 'no client of a target socket failed');
  for (const talk of talks) await talk.quiet();
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
});

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
