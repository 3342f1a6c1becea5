// Tests events: recent ones come first, any HTTP client can read them, and the memory for a client that does not read is limited.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import t from 'tap';
import { Events } from '../../daemon/control/http/events.ts';
import type { BrokerEvent } from '../../daemon/api/answers.ts';
import { BMUXD, startBmuxd } from '../daemon/bmuxd.ts';
import { onPath, waitFor } from '../real/index.ts';
import { connected, targetSocketIs, targetSocketPath } from './target-socket.ts';

t.setTimeout(300_000);

const DEAD = '[connections.targets.dead]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n';

t.test('bmuxd events and curl show recent and new events', async (t) => {
  const bmuxd = await startBmuxd({ config: DEAD });
  t.teardown(() => bmuxd.stop());
  const path = targetSocketPath(bmuxd, 'dead');
  await targetSocketIs(true, path);
  t.equal((await bmuxd.bmuxd(['env', 'dead'])).status, 1);

  const follow = (
    command: string,
    args: string[],
  ): { readonly said: () => string; readonly over: Promise<unknown> } => {
    const child = spawn(command, args, { env: bmuxd.env, stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    return { said: () => said, over: once(child, 'exit') };
  };
  const readable = follow(process.execPath, [BMUXD, 'events']);
  const json = follow(process.execPath, [BMUXD, 'events', '--json']);
  const curl =
    onPath('curl') === undefined
      ? undefined
      : follow('curl', ['-sN', '--unix-socket', bmuxd.socketPath, 'http://x/v1/events']);
  if (curl === undefined) t.comment('curl not found');
  const before = /tls_unreachable/;
  await waitFor('the recent events', () =>
    [readable, json, curl].every((one) => before.test(one?.said() ?? 'tls_unreachable')),
  );
  t.match(
    readable.said(),
    /Z {2}stream refused {2}dead {2}\S+ {2}tls_unreachable {2}TLS target unreachable: dead\n/,
  );
  const rows = (): BrokerEvent[] =>
    json
      .said()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as BrokerEvent);
  const count = rows().length;
  t.match(
    rows().find(({ type }) => type === 'stream refused'),
    { target: 'dead', code: 'tls_unreachable', detail: 'TLS target unreachable: dead', atMs: Number },
  );

  // An invalid frame. The target is unreachable, so the request is refused in any case.
  const socket = await connected(path);
  socket.on('error', () => undefined);
  socket.resume();
  socket.write(Buffer.from('0400000004000000', 'hex'));
  await waitFor('a new event', () => rows().length > count);
  t.match(rows().at(-1), { type: 'stream refused', target: 'dead' });
  if (curl !== undefined) {
    await waitFor(
      'curl to show the new event',
      () => (curl.said().match(/event: stream-refused\ndata: \{/g)?.length ?? 0) >= 2,
    );
  }

  await bmuxd.leave();
  t.same(await readable.over, [0, null], 'bmuxd events exits with 0 when the daemon exits');
  if (curl !== undefined) t.same(await curl.over, [0, null]);
});

t.test('bmuxd events exits when nobody reads its output', async (t) => {
  const bmuxd = await startBmuxd({ config: DEAD });
  t.teardown(() => bmuxd.stop());
  const child = spawn(process.execPath, [BMUXD, 'events'], {
    env: bmuxd.env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const over = once(child, 'exit');
  child.stdout.destroy();
  await bmuxd.bmuxd(['env', 'dead']);
  t.same(await over, [0, null]);
});

t.test('bmuxd events fails when the daemon does not answer', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  bmuxd.signal('SIGSTOP');
  t.teardown(() => {
    bmuxd.signal('SIGCONT');
  });
  const ran = await bmuxd.bmuxd(['events']);
  bmuxd.signal('SIGCONT');
  t.match(ran, { status: 7, stdout: '', stderr: /^bmuxd (with pid \d+ )?does not answer/ });
});

t.test('recent events, followers and their memory are limited', async (t) => {
  const events = new Events();
  t.teardown(() => {
    events.close();
  });
  const answers: boolean[] = [];
  const server = createServer((_request, response) => {
    const heard = events.listen(response);
    answers.push(heard);
    if (!heard) response.writeHead(503).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const follower = async () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'readable');
    return socket;
  };
  for (let index = 0; index < 1000; index += 1) events.add({ type: 'engine ready', detail: String(index) });
  for (let index = 0; index < 1000; index += 1) events.add({ type: 'stream over' });
  events.add({ type: 'stream refused', target: 'https://me:secret@host', detail: 'https://me:secret@host' });

  const deaf = await follower();
  const closed = once(deaf, 'close');
  const attentive = await follower();
  let heard = '';
  attentive.on('data', (chunk: Buffer) => (heard = (heard + chunk.toString()).slice(-50_000)));
  await waitFor('the recent events', () => heard.includes('\n:\n'));
  const count = (type: string): number => heard.split(`event: ${type}\n`).length - 1;
  t.equal(
    count('engine-ready') + count('stream-over') + count('stream-refused'),
    200,
    '200 recent events are kept',
  );
  t.equal(count('stream-over'), 100, 'frequent events do not displace rare ones');
  t.notMatch(heard, /secret/);
  let added = 0;
  await waitFor('the follower that does not read to be closed', () => {
    for (let index = 0; index < 100; index += 1) {
      events.add({ type: 'stream refused', detail: `${String(added)} ${'x'.repeat(10_000)}` });
      added += 1;
    }
    return events.listeners <= 1;
  });
  t.ok(added < 20_000, `closed after ${String(added)} events`);
  t.ok(
    heard.length < 50_001 && !heard.includes('x'.repeat(1001)),
    'the text of an event is cut to its maximum length',
  );
  deaf.resume();
  await closed;
  events.add({ type: 'engine gone', detail: 'the last' });
  await waitFor('the other follower to get the last event', () => heard.includes('the last'));

  for (let index = 1; index < 64; index += 1) await follower();
  t.equal(answers.at(-1), true);
  await follower();
  t.equal(answers.at(-1), false, 'at most 64 followers at the same time');
});
