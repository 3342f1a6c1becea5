// Sockets of a service manager, which keeps them while control and engine are both dead. This test is the manager.
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { isStatus } from '../../daemon/api/answer-shapes.ts';
import { isListening } from '../../daemon/sockets/bind.ts';
import { httpRequest } from '../../daemon/sockets/http-request.ts';
import { underManager } from '../daemon/under-manager.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/child.ts';
import { Incoming, requestHead } from '../streams/requests.ts';

t.test('control and engine are killed: clients in the queue of the manager are served later', async (t) => {
  const { sandbox, start } = await underManager(t);
  const server = await EmbeddedServer.start({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const first = start();
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
  start();
  t.equal((await client.answer()).status, 101);
  t.equal((await health).status, 200);
  client.socket.end();
});

t.test('with idle_exit an unused daemon exits, and the manager starts the next one', async (t) => {
  const { sandbox, start } = await underManager(t, 'idle_exit = 10\n');
  const server = await EmbeddedServer.start({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const first = start();
  let isOver = false;
  const exit = once(first, 'exit').then(([code]: unknown[]) => {
    isOver = true;
    return code;
  });
  await waitFor('it listens', () => isListening(sandbox.streamsPath, 1000));
  const client = new Incoming(sandbox.streamsPath);
  client.socket.write(requestHead(sandbox));
  t.equal((await client.answer()).status, 101);
  // Two looks.
  await sleep(21_000);
  t.notOk(isOver, 'a stream is live');
  client.socket.end();
  t.equal(await exit, 0);
  // It waits in the queue.
  const next = new Incoming(sandbox.streamsPath);
  next.socket.write(requestHead(sandbox));
  start();
  t.equal((await next.answer()).status, 101);
  next.socket.end();
});
