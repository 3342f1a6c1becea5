// Tests what `bmuxd status` does before the rest of the program is loaded: it asks, and shows a status in which nothing is wrong.
import { chmod, mkdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { VERSION_HEADER } from '../../daemon/api/header.ts';
import { packageVersion } from '../../daemon/base/version.ts';
import { askEarly, takeSent } from '../../daemon/cli/status/early.ts';
import type { ControlAnswer } from '../../daemon/cli/status/exchange.ts';
import { usualText } from '../../daemon/cli/status/usual.ts';
import { fail } from '../../daemon/errors/fail.ts';
import { BMUXD, makeSandbox, type Sandbox } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';

/** A server on the control socket of a sandbox. `asked`: what each connection has sent. `answered`: called for each request. */
async function listening(t: Test, answered: (client: Socket) => void) {
  const sandbox: Sandbox = await makeSandbox();
  const asked: string[] = [];
  const clients = new Set<Socket>();
  const server: Server = createServer((client) => {
    const index = asked.push('') - 1;
    clients.add(client);
    client.on('error', () => undefined);
    client.on('data', (data) => {
      asked[index] += String(data);
      if (asked[index]?.endsWith('\r\n\r\n') === true) answered(client);
    });
  });
  await mkdir(dirname(sandbox.socketPath), { mode: 0o700 });
  await new Promise<void>((resolve) => server.listen(sandbox.socketPath, resolve));
  t.teardown(async () => {
    for (const client of clients) client.destroy();
    server.close();
    await sandbox.remove();
  });
  return { sandbox, asked };
}

const REQUEST = 'GET /v1/status HTTP/1.0\r\nHost: bmuxd\r\n\r\n';

t.test('it is sent for the status alone, and given to the first who would send the same', async (t) => {
  const { sandbox, asked } = await listening(t, () => undefined);
  const { env, socketPath } = sandbox;
  const ask = (...args: string[]) => askEarly(['node', 'bmuxd', ...args], env);
  await ask('status', 'prod');
  await ask('status', '--wait');
  await ask('status', '--json', 'prod');
  await ask('streams');
  t.equal(takeSent(socketPath, 'GET', '/v1/status'), undefined);

  await ask('status', '--json');
  await waitFor('the request', () => asked.includes(REQUEST));
  t.same(asked, [REQUEST], 'nothing was sent for the others');
  t.equal(takeSent(`${socketPath}2`, 'GET', '/v1/status'), undefined);
  t.equal(takeSent(socketPath, 'GET', '/v1/health'), undefined);
  const sent = takeSent(socketPath, 'GET', '/v1/status');
  t.ok(sent);
  t.equal(takeSent(socketPath, 'GET', '/v1/status'), undefined);
  sent?.end();
});

t.test('nothing is sent where another user may be behind the socket, or nobody is', async (t) => {
  const { sandbox, asked } = await listening(t, () => undefined);
  const { env, socketPath } = sandbox;
  await chmod(dirname(socketPath), 0o777);
  await askEarly(['node', 'bmuxd', 'status'], env);
  await askEarly(['node', 'bmuxd', 'status'], { ...env, BMUXD_SOCKET: `${socketPath}2` });
  t.equal(takeSent(socketPath, 'GET', '/v1/status'), undefined);
  t.same(asked, []);
  const { status, stderr } = await run(process.execPath, [BMUXD, 'status'], env);
  t.match([status, stderr], [1, /\[path_insecure\]/]);
  t.same(asked, []);
});

t.test('bmuxd status asks once, also when it gets no answer', async (t) => {
  const { sandbox, asked } = await listening(t, (client) => client.destroy());
  for (const args of [['status'], ['status', '--json']]) {
    const { status, stdout, stderr } = await run(process.execPath, [BMUXD, ...args], sandbox.env);
    t.equal(status, 1);
    t.match(stdout + stderr, 'daemon_lost');
    t.same(asked.splice(0), [REQUEST], args.join(' '));
  }
});

const STATUS: Status = {
  schema: 1,
  state: 'ready',
  pid: 8629,
  version: packageVersion(),
  sinceMs: Date.now() - 60_000,
  log: 'stderr',
  socket: '/run/user/1000/bmuxd/control.sock',
  engines: [{ generation: 'mwsqradw', pid: 8688, version: '0', sinceMs: 0, state: 'serving', streams: 0 }],
  streams: 0,
  contexts: [],
  upstreams: [],
  problems: [],
};

const ANSWER = { status: 200, headers: { [VERSION_HEADER]: packageVersion() }, body: STATUS };

t.test('a status in which nothing is wrong needs no more of the program', (t) => {
  const { body, headers } = ANSWER;
  const failure = fail('daemon_lost', {}).data;
  t.match(
    usualText(ANSWER, false, {}),
    /^bmuxd [^ ]+: ready {2}pid 8629, .*\nsocket .*\n\nENGINE .*\nmwsqradw /,
  );
  t.same(JSON.parse(usualText(ANSWER, true, {}) ?? ''), STATUS);
  const others: Readonly<Record<string, ControlAnswer>> = {
    'it is degraded': { ...ANSWER, body: { ...body, state: 'degraded' } },
    'it is starting': { ...ANSWER, body: { ...body, state: 'starting' } },
    'it has a problem': { ...ANSWER, body: { ...body, problems: [{ where: 'here', failure }] } },
    'connections are lost': { ...ANSWER, body: { ...body, lostConnections: [] } },
    'it has another version': { ...ANSWER, headers: { [VERSION_HEADER]: '0.0.9' } },
    'it has no version': { ...ANSWER, headers: {} },
    'it has another form': { ...ANSWER, body: { ...body, engines: undefined } },
    'it is no status': { status: 200, headers, body: undefined },
    'it is refused': { ...ANSWER, status: 503 },
  };
  for (const [why, other] of Object.entries(others)) t.equal(usualText(other, false, {}), undefined, why);
  t.end();
});

t.test('an answer that comes late is shown, and was asked for once', async (t) => {
  const text = JSON.stringify(STATUS);
  const { sandbox, asked } = await listening(t, (client) => {
    setTimeout(() => {
      const head = `${VERSION_HEADER}: ${packageVersion()}\r\nContent-Length: ${String(text.length)}`;
      client.end(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${text}`);
    }, 500);
  });
  const { status, stdout } = await run(process.execPath, [BMUXD, 'status'], sandbox.env);
  t.match([status, stdout], [0, /: ready {2}pid 8629,/]);
  t.same(asked, [REQUEST]);
});
