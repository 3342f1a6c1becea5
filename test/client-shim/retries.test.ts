// A client whose daemon hangs or leaves: when it asks again, and when it gives up.
import { createServer, type Server, type Socket } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { askForStream } from '../../client-shim/connect.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { holdTime } from '../base/async/held-timers.ts';

async function listen(t: Test, path: string, serve: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}

/** A client of the two sockets of a daemon. */
async function client(
  t: Test,
  on: { readonly stream: (socket: Socket) => void; readonly control: (socket: Socket) => void },
) {
  const folder = await mkdtemp(join(tmpdir(), 'retry-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const question = {
    socketPath: join(folder, 's.sock'),
    controlSocket: join(folder, 'c.sock'),
    request: '{}',
    budgetMs: 100 * LIMITS.replacedMs,
  };
  await listen(t, question.socketPath, on.stream);
  await listen(t, question.controlSocket, on.control);
  const time = holdTime(t);
  const asked = { why: undefined as unknown };
  const abort = new AbortController();
  t.teardown(() => abort.abort());
  askForStream({ ...question, signal: abort.signal }).catch((error: unknown) => (asked.why = error));
  return { time, asked };
}

/** Takes the question, and then ends without an answer, as a daemon that is killed. */
function lose(socket: Socket): void {
  socket.once('data', () => socket.end());
}

t.test('a daemon that ends each time: the next attempt, and the last', async (t) => {
  let attempts = 0;
  const { time, asked } = await client(t, {
    stream: (socket) => {
      attempts += 1;
      lose(socket);
    },
    control: lose,
  });
  await time.until('the first attempt', () => attempts === 1);
  // A pause is a fifth longer at most. Attempts take real time, in which none of the held time passes.
  for (let passed = 0; attempts === 1 && passed < 2 * LIMITS.retryMs; passed += 10) {
    await time.pass(10);
    await turns();
  }
  await time.until('the second attempt', () => attempts === 2);
  let passed = 0;
  for (; asked.why === undefined && passed < 3 * LIMITS.replacedMs; passed += 50) {
    await time.pass(50);
    await turns();
  }
  t.match(asked.why, { code: 'daemon_lost' });
  t.ok(passed > LIMITS.replacedMs / 2, 'it tries for a while');
  t.ok(attempts > 2);
});

t.test('an engine that hangs is asked again', async (t) => {
  let health = 0;
  const { time } = await client(t, {
    stream: (socket) => {
      socket.on('data', (bytes) => {
        if (String(bytes).startsWith('GET /v1/health')) health += 1;
      });
    },
    control: (socket) => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
    },
  });
  await turns();
  await time.pass(LIMITS.silenceMs);
  await time.until('the first question', () => health === 1);
  await time.pass(LIMITS.healthMs);
  // Control answers that it lives, in real time.
  for (let passed = 0; health === 1 && passed < 4 * LIMITS.stuckAskedMs; passed += 50) {
    await turns();
    await time.pass(50);
  }
  await time.until('the second question', () => health === 2);
});

/** Lets sockets do what is due. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
