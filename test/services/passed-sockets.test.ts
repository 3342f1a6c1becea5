// Sockets of a service manager, which keeps them while control and engine are both dead. This test is the manager.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isStatus } from '../../daemon/api/answer-shapes.ts';
import { bindWithoutListen } from '../../daemon/sockets/bind-without-listen.ts';
import { httpRequest } from '../../daemon/sockets/http-request.ts';
import { BMUXD, makeSandbox, type Sandbox } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';
import { Incoming, requestHead } from '../streams/requests.ts';

/** Binds a socket and returns its descriptor. The daemon listens; the queue of the socket is there as long as this process has it, too. */
function held(t: Test, path: string): number {
  const server = createServer();
  bindWithoutListen(server, path);
  t.teardown(() => server.close());
  const fd: unknown = Reflect.get(Object(Reflect.get(server, '_handle')), 'fd');
  if (typeof fd !== 'number') throw new Error('the socket has no descriptor');
  return fd;
}

/** Starts the daemon as systemd does. */
function start(t: Test, sandbox: Sandbox, fds: readonly [number, number]): ChildProcess {
  const child = spawn('sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, BMUXD, 'run'], {
    env: { ...sandbox.env, LISTEN_FDS: '2', LISTEN_FDNAMES: 'control:streams' },
    stdio: ['ignore', 'ignore', 'ignore', ...fds],
  });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

t.test('control and engine are killed: clients in the queue of the manager are served later', async (t) => {
  const sandbox = await makeSandbox({ config: '[general]\nserver_timeout = 30000\n' });
  t.teardown(() => sandbox.remove());
  await mkdir(join(sandbox.folder, 'd'), { mode: 0o700 });
  const server = await EmbeddedServer.start({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  t.teardown(() => run(process.execPath, [BMUXD, 'stop'], sandbox.env));
  const fds = [held(t, sandbox.socketPath), held(t, sandbox.streamsPath)] as const;
  const first = start(t, sandbox, fds);
  const status = async (): Promise<unknown> =>
    (
      await httpRequest({
        socketPath: sandbox.socketPath,
        method: 'GET',
        path: '/v1/status',
        timeoutMs: 5000,
      })
    ).body;
  const engine = async (): Promise<number | undefined> => {
    const body = await status().catch(() => undefined);
    return isStatus(body) && body.state === 'ready' ? body.engines[0]?.pid : undefined;
  };
  await waitFor('the engine', async () => (await engine()) !== undefined);
  const pid = await engine();
  // It must start no other engine.
  first.kill('SIGSTOP');
  process.kill(pid ?? 0, 'SIGKILL');
  const gone = once(first, 'exit');
  first.kill('SIGKILL');
  await gone;
  // Clients that do not try again.
  const health = httpRequest({
    socketPath: sandbox.socketPath,
    method: 'GET',
    path: '/v1/health',
    timeoutMs: 60_000,
  });
  const client = new Incoming(sandbox.streamsPath);
  client.socket.write(requestHead(sandbox));
  start(t, sandbox, fds);
  t.equal((await client.answer()).status, 101);
  t.equal((await health).status, 200);
  client.socket.end();
});
