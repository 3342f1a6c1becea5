// A lost stream never looks finished: bmux-stream, the library, the events and the log say that it was lost, and why.
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { Failure } from '../../client-shim/index.ts';
import type { StreamList } from '../../daemon/api/answers.ts';
import type { Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { connected, eventsOf, targetSocketPath } from '../target-sockets/target-socket.ts';
import { startWorld } from './world.ts';

interface LiveShim {
  readonly id: string;
  readonly pid: number;
  /** Its exit status, and what it has said on stderr. */
  readonly exited: Promise<readonly [status: unknown, stderr: string]>;
}

async function streamsOf(bmuxd: Bmuxd): Promise<StreamList['streams']> {
  return ((await bmuxd.http('GET', '/v1/streams')).body as StreamList).streams;
}

/** Starts a `bmux-stream` whose stdin stays open, and waits for its stream. */
async function liveShim(t: Test, bmuxd: Bmuxd, target: string): Promise<LiveShim> {
  const before = new Set((await streamsOf(bmuxd)).map(({ id }) => id));
  const child = bmuxd.spawnShim([target]);
  t.teardown(() => child.kill('SIGKILL'));
  const { stdin, stderr, pid } = child;
  if (stdin === null || stderr === null || pid === undefined) throw new Error('no pipes');
  stdin.on('error', () => undefined);
  let said = '';
  stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const exited = once(child, 'close').then(([status]) => [status, said] as const);
  let id: string | undefined;
  await waitFor('the stream', async () => {
    id = (await streamsOf(bmuxd)).find((row) => row.state === 'live' && !before.has(row.id))?.id;
    return id !== undefined;
  });
  return { id: id ?? '', pid, exited };
}

/** The failure that a stream of the library emits. */
async function failureOf(stream: Readable): Promise<Failure> {
  const [error] = (await once(stream.resume(), 'error')) as [unknown];
  if (error instanceof Failure) return error;
  throw error;
}

t.test('streams that end properly, are ended, and lose their server', async (t) => {
  const { bmuxd, server } = await startWorld(t);
  for (const target of ['local', 'tls', 'iroh']) {
    const { exited } = await liveShim(t, bmuxd, target);
    await server.command({ do: 'drop-all' });
    t.same(await exited, [0, ''], target);
  }

  const ended = await liveShim(t, bmuxd, 'tls');
  t.equal((await bmuxd.http('DELETE', `/v1/streams/${ended.id}`)).status, 202);
  t.match(await ended.exited, [8, /^the stream through bmuxd broke: it was ended by bmuxd streams\n/]);

  const [local, tls] = [await liveShim(t, bmuxd, 'local'), await liveShim(t, bmuxd, 'tls')];
  const opened = await bmuxd.open({ target: 'tls' });
  // As `bmux attach`, this client does not end its side when its server has ended.
  const client = new TestClient(await connected(targetSocketPath(bmuxd, 'tls')));
  await client.hello();
  const failed = failureOf(opened.stream);
  await server.kill();
  t.match((await failed).data, { code: 'stream_lost', exitStatus: 8, detail: /ended without close_notify/ });
  t.match(await tls.exited, [
    8,
    /^the stream through bmuxd broke: .*: the connection ended without close_notify\n/,
  ]);
  t.match(await local.exited, [8, /^the stream through bmuxd broke: .*: the server has died\n/]);
  await waitFor('a write of the client to fail', () => {
    client.stream.write('x');
    return client.stream.destroyed;
  });
  await waitFor('all streams to be over', async () => (await bmuxd.status()).streams === 0);
  const over = (await eventsOf(bmuxd)).filter(({ type }) => type === 'stream over');
  for (const event of over.slice(-4))
    t.match(event, { code: 'stream_lost', detail: /was lost: the (connection|server) / });
  t.notMatch(bmuxd.log(), /"reason":"out of time"/, 'no stream waited for its client');
  t.match(bmuxd.log(), /"lost":"the connection to its server was lost: the server has died"/);
});

t.test('the engine is killed while the status is polled, and `bmuxd stop`', async (t) => {
  const { bmuxd } = await startWorld(t);
  const { exited, pid } = await liveShim(t, bmuxd, 'local');
  const { stream } = await bmuxd.open({ target: 'local' });
  const failed = failureOf(stream);
  // The polls remove the dead engine's socket before bmux-stream asks.
  process.kill(pid, 'SIGSTOP');
  const [engine] = await bmuxd.engines();
  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  await waitFor('the socket to be removed', async () => {
    await bmuxd.http('GET', '/v1/status');
    return !(await bmuxd.engines()).includes(engine ?? '');
  });
  process.kill(pid, 'SIGCONT');
  t.same(await exited, [
    8,
    'the stream through bmuxd broke: its engine has died\nOpen a new stream; the log of bmuxd says more (`bmuxd logs`). [stream_lost]\n',
  ]);
  t.match((await failed).data, { code: 'stream_lost', detail: /its engine has died/ });

  const stopped = await liveShim(t, bmuxd, 'tls');
  // It asks for the reason when the engine has exited.
  process.kill(stopped.pid, 'SIGSTOP');
  t.match(await bmuxd.bmuxd(['stop']), { status: 0 });
  process.kill(stopped.pid, 'SIGCONT');
  t.match(await stopped.exited, [8, /^the stream through bmuxd broke: it was ended by bmuxd stop\n/]);
});

/** Follows the events until control closes them. */
async function followed(t: Test, bmuxd: Bmuxd): Promise<() => string> {
  const socket = await connected(bmuxd.socketPath);
  t.teardown(() => socket.destroy());
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => undefined);
  socket.write('GET /v1/events HTTP/1.0\r\n\r\n');
  await waitFor('the recent events', () => /(^|\n):\r?\n/.test(text));
  return () => text;
}

t.test('who has ended all streams is told by its own words', async (t) => {
  const { bmuxd } = await startWorld(t, { settings: 'on_term = "stop"\n' });
  const first = await liveShim(t, bmuxd, 'tls');
  process.kill(await bmuxd.enginePid(), 'SIGTERM');
  t.match(await first.exited, [8, /broke: it was ended by SIGTERM to its engine\n/]);
  await waitFor('all streams to be over', async () => (await bmuxd.status()).streams === 0);

  const [second, events] = [await liveShim(t, bmuxd, 'tls'), await followed(t, bmuxd)];
  await bmuxd.leave();
  t.match(await second.exited, [8, /broke: it was ended by bmuxd, which got SIGTERM\n/]);
  const told = events()
    .split('\n')
    .find((line) => line.includes(second.id) && line.includes('stream over'));
  t.match(told, /it was ended by bmuxd, which got SIGTERM/, 'those who follow the events learn it, too');
  t.match(bmuxd.log(), /"lost":"it was ended by bmuxd, which got SIGTERM"/);

  const next = await startWorld(t);
  const [third, nextEvents] = [await liveShim(t, next.bmuxd, 'tls'), await followed(t, next.bmuxd)];
  t.match(await next.bmuxd.bmuxd(['stop']), { status: 0 });
  t.match(await third.exited, [8, /broke: it was ended by bmuxd stop\n/]);
  t.match(nextEvents(), /stream over.*it was ended by bmuxd stop/);
});
