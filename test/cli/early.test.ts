// Tests the request that `bmuxd status` sends before the rest of the program is loaded.
import { chmod, mkdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { askEarly, takeSent } from '../../daemon/cli/status/early.ts';
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
  const ask = (...args: string[]): Promise<void> => askEarly(['node', 'bmuxd', ...args], env);
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
  t.equal(sent?.error(), undefined);
  t.equal(takeSent(socketPath, 'GET', '/v1/status'), undefined);
  sent?.socket.destroy();
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
