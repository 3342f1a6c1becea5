// Tests the client where no daemon answers as it should: none, somebody else, one that is going, one that is replaced. And its types.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, unlink, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
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
/** Something on the streams socket that is no daemon of ours. */
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
    `bmuxd is not running (no daemon on ${sandbox.socketPath}).\n  caused by: connect ENOENT ${sandbox.streamsPath}\nStart it: \`bmuxd run\`, or \`systemctl --user start bmuxd\`.\n`,
  );
  const started = performance.now();
  const failure = await failureOf(openStream({ env: sandbox.env }));
  t.equal(failure.code, 'daemon_not_running');
  t.ok(performance.now() - started < LIMITS.silenceMs);

  await t.test('somebody else is on the socket', async (t) => {
    const stop = await fake(sandbox, (socket) =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'),
    );
    const { data } = await failureOf(openStream({ env: sandbox.env }));
    t.match(data, { code: 'daemon_foreign', detail: /HTTP status 200/ });
    await stop();
  });

  await t.test('a lost connection is tried again; one that is lost for good is named', async (t) => {
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
  });

  await t.test('a daemon that is killed before it accepts', async (t) => {
    const child = spawn(process.execPath, [
      '-e',
      'require("node:net").createServer().listen(process.argv[1])',
      sandbox.streamsPath,
    ]);
    t.teardown(() => child.kill('SIGKILL'));
    await waitFor('it to listen', () => isListening(sandbox.streamsPath, 1000));
    child.kill('SIGSTOP');
    await waitFor('it to stand still', async () => !(await isAnswering(sandbox.streamsPath)));
    const opening = openStream({ env: sandbox.env });
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    // This process learns of its connect after that.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    await gone;
    await unlink(sandbox.streamsPath);
    const stop = await fake(sandbox, (socket) => socket.end('HTTP/1.1 204 No Content\r\n\r\n'));
    t.equal((await failureOf(opening)).code, 'nothing_there');
    await stop();
  });

  await t.test('one late word about its health does not end a long dial', async (t) => {
    const sockets: Socket[] = [];
    const stop = await fake(sandbox, (socket) => {
      sockets.push(socket);
      // The stream, then two questions: the daemon does not come to the first one in time.
      if (sockets.length < 3) return;
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
      sockets[0]?.write(granted('x-2'));
    });
    const { stream, info } = await openStream({ env: sandbox.env });
    t.equal(info.id, 'x-2');
    stream.destroy();
    await stop();
  });

  await t.test('a daemon that is stopping is asked again', async (t) => {
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

t.test('what was said before a close reaches stdout', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());

  // What the reader of a pipe, this process, and a socket hold between them.
  const skip = process.platform !== 'linux' && 'the sizes are those of Linux';
  await t.test('although stdin was still written to', { skip }, async (t) => {
    const words = Buffer.alloc(450_000, 'x');
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
    // Its write must have failed before anybody reads on.
    setTimeout(() => child.stdout.resume(), 500);
    t.same(await once(child, 'close'), [0, null]);
    t.equal(bytes, words.length);
  });

  await t.test('although the close was a hard one', async (t) => {
    let accepted: Socket | undefined;
    const stop = await fake(sandbox, (socket) => {
      accepted = socket;
      socket.once('data', () => socket.write(granted('x-1')));
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
    const ended = failureOf(bridge({ stream, stdin, stdout, whyLost: () => Promise.resolve(undefined) }));
    accepted?.write('first');
    await waitFor('the first word', () => said.length === 1);
    accepted?.write(' last');
    await waitFor('the last word', () => stream.readableLength > 0);
    if (accepted !== undefined) stopReading(accepted);
    stdin.write('unread');
    await waitFor('it to be sent', () => stream.writableLength === 0);
    accepted?.destroy();
    await waitFor('the end', () => stream.destroyed);
    release?.();
    t.match((await ended).data, { code: 'stream_lost', exitStatus: 1 });
    t.equal(said.join(''), 'first last');
  });
});

t.test('requests that are under way while the daemon is replaced', async (t) => {
  // Long enough for the start of a daemon on a busy machine.
  const first = await startBmuxd({ config: '[general]\nserver_timeout = 30000\n' });
  t.teardown(() => first.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(first.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  let going = true;
  let done = 0;
  // Without a socket that a service manager keeps, a client that finds nobody at all is told so at once: it asks again, as a person would.
  const ask = async (): Promise<void> => {
    while (going) {
      try {
        const { stream } = await openStream({ env: first.env, timeoutMs: 30_000 });
        await new TestClient(stream).ping();
        stream.destroy();
        done += 1;
      } catch (error) {
        if (!(error instanceof Failure && error.code === 'daemon_not_running')) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
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

t.test('the types are usable under strict TypeScript', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const library = fileURLToPath(new URL('../../client-shim/index.js', import.meta.url));
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  await writeFile(
    join(sandbox.folder, 'consumer.mts'),
    `import { openStream, Failure, type OpenedStream, type OpenStreamOptions, type StreamInfo } from ${JSON.stringify(library)};
const options: OpenStreamOptions = { target: 'prod', contract: { epoch: 4 }, timeoutMs: 1000 };
try {
  const { stream, info }: OpenedStream = await openStream(options);
  const shown: StreamInfo = info;
  stream.end(shown.negotiated.capabilities.join());
} catch (error) {
  if (error instanceof Failure) process.exitCode = error.data.exitStatus;
}
// @ts-expect-error: there is no such scope
await openStream({ scope: 'all' });
`,
  );
  const args = [
    '--strict',
    '--skipLibCheck',
    '--noEmit',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--types',
    'node',
  ];
  const out = await new Promise<string>((resolve) => {
    execFile(
      process.execPath,
      [
        join(root, 'node_modules/typescript/bin/tsc'),
        ...args,
        '--typeRoots',
        join(root, 'node_modules/@types'),
        join(sandbox.folder, 'consumer.mts'),
      ],
      { cwd: sandbox.folder },
      (_error, stdout) => {
        resolve(stdout);
      },
    );
  });
  t.equal(out, '');
});
