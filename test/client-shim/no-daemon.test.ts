// Tests the client when no daemon runs, when another program answers, and while a daemon stops or is replaced.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, unlink, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import t from 'tap';
import { bridge } from '../../client-shim/bridge.ts';
import { Failure, openStream } from '../../client-shim/index.ts';
import { isAnswering } from '../../client-shim/probe.ts';
import { isListening } from '../../daemon/sockets/bind.ts';
import { stopReading } from '../../daemon/sockets/accepted-socket.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { granted } from '../daemon/raw-http.ts';
import { makeSandbox, SHIM, startBmuxd, type Sandbox } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';

const shimAt = (sandbox: Sandbox, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run(process.execPath, [SHIM, ...args], { ...sandbox.env, ...env });
const failureOf = async (work: Promise<unknown>): Promise<Failure> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it did not fail');
};
/** Listens on the streams socket in place of a daemon. Returns a function that closes everything. */
async function fake(sandbox: Sandbox, serve: (socket: Socket) => void): Promise<() => Promise<void>> {
  await mkdir(join(sandbox.folder, 'd'), { mode: 0o700, recursive: true });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(sandbox.streamsPath, resolve));
  return () =>
    new Promise((resolve) => {
      server.close(() => {
        resolve();
      });
      for (const socket of sockets) socket.destroy();
    });
}

t.test('without a daemon', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const none = await shimAt(sandbox, []);
  t.equal(none.status, 3);
  t.equal(
    none.stderr,
    `bmuxd is not running (no daemon on ${sandbox.socketPath}).\n  caused by: connect ENOENT ${sandbox.streamsPath}\nStart it: \`bmuxd start\`; in the foreground: \`bmuxd run\`. [daemon_not_running]\n`,
  );
  const started = performance.now();
  const failure = await failureOf(openStream({ env: sandbox.env }));
  t.equal(failure.code, 'daemon_not_running');
  t.ok(performance.now() - started < LIMITS.silenceMs);

  await t.test('another program on the socket is reported as daemon_foreign', async (t) => {
    const stop = await fake(sandbox, (socket) =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'),
    );
    const { data } = await failureOf(openStream({ env: sandbox.env }));
    t.match(data, { code: 'daemon_foreign', detail: /HTTP status 200/ });
    await stop();
  });

  await t.test(
    'a lost connection is retried, and reported as daemon_lost when no retry succeeds',
    async (t) => {
      let asked = 0;
      let stop = await fake(sandbox, (socket) => {
        asked += 1;
        if (asked < 4) socket.destroy();
        else socket.write(`${granted('x-1')}first bytes`);
      });
      const { stream, info } = await openStream({ env: sandbox.env });
      t.equal(info.id, 'x-1');
      t.equal(String(await new Promise((resolve) => stream.once('data', resolve))), 'first bytes');
      stream.destroy();
      await stop();
      stop = await fake(sandbox, (socket) => socket.destroy());
      const { data } = await failureOf(openStream({ env: sandbox.env, timeoutMs: 300 }));
      t.match(data, { code: 'daemon_lost', exitStatus: 1 });
      await stop();
    },
  );

  await t.test('a retry that is under way when the time ends does not hide why there was one', async (t) => {
    let asked = 0;
    const stop = await fake(sandbox, (socket) => {
      asked += 1;
      if (asked === 1) socket.destroy();
    });
    const { data } = await failureOf(openStream({ env: sandbox.env, timeoutMs: 300 }));
    t.match(data, { code: 'daemon_lost', exitStatus: 1 });
    await stop();
  });

  await t.test('a request to a daemon that is killed before it accepts is retried', async (t) => {
    const child = spawn(process.execPath, [
      '-e',
      'require("node:net").createServer().listen(process.argv[1])',
      sandbox.streamsPath,
    ]);
    t.teardown(() => child.kill('SIGKILL'));
    await waitFor('it to listen', () => isListening(sandbox.streamsPath, 1000));
    child.kill('SIGSTOP');
    await waitFor('it to be stopped', async () => !(await isAnswering(sandbox.streamsPath)));
    const opening = openStream({ env: sandbox.env });
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    // The event loop is blocked, so that this process handles the result of its connect after the kill.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    await gone;
    await unlink(sandbox.streamsPath);
    const stop = await fake(sandbox, (socket) => socket.end('HTTP/1.1 204 No Content\r\n\r\n'));
    t.equal((await failureOf(opening)).code, 'nothing_there');
    await stop();
  });

  await t.test('one late answer to a health request does not end a long dial', async (t) => {
    const sockets: Socket[] = [];
    const stop = await fake(sandbox, (socket) => {
      sockets.push(socket);
      // The first connection is the stream. Of the two health requests after it, only the second one is answered.
      if (sockets.length < 3) return;
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
      sockets[0]?.write(granted('x-2'));
    });
    const { stream, info } = await openStream({ env: sandbox.env });
    t.equal(info.id, 'x-2');
    stream.destroy();
    await stop();
  });

  await t.test('a request that a stopping daemon refuses is retried', async (t) => {
    let asked = 0;
    const body = JSON.stringify({ code: 'stopping', detail: 'd', remedy: 'r', exitStatus: 1 });
    const stop = await fake(sandbox, (socket) => {
      asked += 1;
      socket.end(
        asked === 1
          ? `HTTP/1.1 503 x\r\nContent-Length: ${String(body.length)}\r\n\r\n${body}`
          : 'HTTP/1.1 204 No Content\r\n\r\n',
      );
    });
    t.equal((await failureOf(openStream({ env: sandbox.env }))).code, 'nothing_there');
    await stop();
  });
});

t.test('bytes that were sent before a close reach stdout', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());

  // The size must fit into the buffers of the pipe, of bmux-stream and of the socket together; these depend on the system.
  const skip = process.platform !== 'linux' && 'the buffer sizes are those of Linux';
  await t.test('when a later write to stdin fails', { skip }, async (t) => {
    const words = Buffer.alloc(450_000, 'x');
    // The engine `x` has left, and the stream had ended properly.
    await mkdir(join(sandbox.folder, 'd', 'engines'), { mode: 0o700, recursive: true });
    await writeFile(join(sandbox.folder, 'd', 'engines', 'x.ends'), '{"ends":{"x-1":null}}');
    const stop = await fake(sandbox, (socket) => {
      socket.once('data', () => {
        socket.write(granted('x-1'));
        socket.end(words, () => socket.destroy());
        socket.once('close', () => child.stdin.write('late'));
      });
    });
    t.teardown(stop);
    const child = spawn(process.execPath, [SHIM], { env: sandbox.env, stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length)).pause();
    // The write of bmux-stream must have failed before reading continues.
    setTimeout(() => child.stdout.resume(), 500);
    t.same(await once(child, 'close'), [0, null]);
    t.equal(bytes, words.length);
  });

  await t.test('when the connection is reset', async (t) => {
    let accepted: Socket | undefined;
    const stop = await fake(sandbox, (socket) => {
      accepted = socket;
      socket.once('data', () => socket.write(granted('x-2')));
    });
    t.teardown(stop);
    const { stream } = await openStream({ env: sandbox.env });
    const said: string[] = [];
    let release: (() => void) | undefined;
    const stdout = new Writable({
      highWaterMark: 1,
      write: (chunk, _encoding, done) => {
        said.push(String(chunk));
        if (release === undefined) release = done;
        else done();
      },
    });
    const stdin = new PassThrough();
    const ended = failureOf(bridge({ stream, stdin, stdout }));
    accepted?.write('first');
    await waitFor('the first bytes', () => said.length === 1);
    accepted?.write(' last');
    await waitFor('the last bytes', () => stream.readableLength > 0);
    if (accepted !== undefined) stopReading(accepted);
    stdin.write('unread');
    await waitFor('it to be sent', () => stream.writableLength === 0);
    accepted?.destroy();
    release?.();
    t.match((await ended).data, { code: 'stream_lost', exitStatus: 8 });
    t.equal(said.join(''), 'first last');
  });
});

t.test('no request fails while the daemon is replaced', async (t) => {
  // The timeout is long enough for the start of a daemon on a busy machine.
  const first = await startBmuxd({ config: '[general]\nserver_timeout = 30000\n' });
  t.teardown(() => first.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(first.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  let going = true;
  let done = 0;
  // No service manager keeps the sockets here. The engine of the first daemon shows that one will be back.
  const ask = async (): Promise<void> => {
    while (going) {
      const { stream } = await openStream({ env: first.env, timeoutMs: 30_000 });
      await new TestClient(stream).ping();
      stream.destroy();
      done += 1;
    }
  };
  const asking = Promise.all([ask(), ask(), ask()]);
  await waitFor('some requests', () => done > 20);
  await first.leave();
  const second = await startBmuxd({ sandbox: first });
  t.teardown(() => second.stop());
  const before = done;
  await waitFor('some more', () => done > before + 20);
  await second.killControl();
  const third = await startBmuxd({ sandbox: first });
  t.teardown(() => third.stop());
  const between = done;
  await waitFor('some more', () => done > between + 20);
  going = false;
  await asking;
  t.pass('none failed');
});
