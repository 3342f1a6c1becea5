// Requests that have not arrived in time, and those that a busy process has not read yet.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { mock } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { HTTP_LIMITS, onClientError, refuseLate } from '../../daemon/sockets/http-refusals.ts';

/** ms that a process does not run: longer than two checks are apart. */
const BUSY_MS = 2500;

t.test(
  'a request that has arrived while the process was busy is answered, and an unfinished one refused',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'refuse-late-'));
    t.teardown(() => rm(folder, { recursive: true }));
    const path = join(folder, 's');
    const server = createServer(HTTP_LIMITS, (_, response) => response.end('yes'));
    server.on('clientError', (error, socket) => {
      onClientError(error, socket as Socket);
    });
    refuseLate(server);
    server.listen(path);
    await once(server, 'listening');
    t.teardown(() => server.close());
    const now = performance.now.bind(performance);
    let passed = 0;
    const clock = mock.method(performance, 'now', () => now() + passed);
    t.teardown(() => {
      clock.mock.restore();
    });

    const accepted: Promise<unknown>[] = [];
    const clients = ['GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 'GET / HT'].map((text) => {
      accepted.push(once(server, 'connection'));
      return { text, socket: connect(path) };
    });
    const answers = clients.map(async ({ socket }) => {
      let text = '';
      for await (const chunk of socket) text += String(chunk);
      return text;
    });
    await Promise.all(accepted);
    await new Promise((resolve) => setImmediate(resolve));
    for (const { text, socket } of clients) socket.write(text);
    // Nothing is read from here on until a check is due, and the time of the requests is over then.
    passed = LIMITS.requestMs;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_MS);
    const [whole, unfinished] = await Promise.all(answers);
    t.match(whole, /^HTTP\/1\.1 200 /);
    t.match(unfinished, /^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
  },
);
