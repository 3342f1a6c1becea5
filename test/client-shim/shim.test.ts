// Tests `bmux-stream` and the library against the real daemon.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Failure } from '../../client-shim/index.ts';
import type { StreamList } from '../../daemon/api/answers.ts';
import { encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { collect, makeSandbox, SHIM, startBmuxd, type Sandbox } from '../daemon/bmuxd.ts';
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
  throw new Error('the request did not fail');
};
t.test('with the daemon', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const socketPath = join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock');

  await t.test(
    'without a server: text and exit status, and another exit status with --if-running',
    async (t) => {
      const none = await bmuxd.shim([]);
      t.equal(none.status, 1);
      t.match(none.stderr, /^bmux server is not running \(IPC endpoint unavailable\)\.\n/);
      t.equal((await bmuxd.shim(['--if-running'])).status, 4);
      t.equal((await failureOf(bmuxd.open({ ifRunning: true }))).code, 'nothing_there');
      const slot = await bmuxd.shim([], undefined, { BMUX_SLOT_NAME: 'x' });
      t.match(slot, { status: 5, stderr: /^active slot "x" is not declared/ });
    },
  );

  const server = await EmbeddedServer.start({ socketPath, epoch: 4, handshakeTimeoutMs: 60_000 });
  t.teardown(() => server.stop());

  /** Waits for a live stream. A connection that is lost before, during the Hello, would be made again. */
  const isLive = (): Promise<void> =>
    waitFor('the stream', async () => {
      const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
      return streams.some((row) => row.state === 'live');
    });

  /** Starts a `bmux-stream` and waits for its stream. */
  const live = async (t: Test) => {
    const child = bmuxd.spawnShim([]);
    t.teardown(() => child.kill('SIGKILL'));
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    await isLive();
    return { child, ended: once(child, 'close'), stderr: () => stderr };
  };

  await t.test('bytes go both ways, and the end of stdin ends only one direction', async (t) => {
    const pings = [1n, 2n, 3n].map((id) => encodeRequestFrame(4, id, { type: 'ping' }));
    const ran = await bmuxd.shim(['local', '--client-name', 'shim-test'], Buffer.concat(pings));
    t.equal(ran.status, 0);
    t.equal(ran.stderr, '');
    // All three answers arrive, although stdin had ended before the first of them.
    t.ok(ran.stdout.length > 0 && ran.stdout.length % 3 === 0, `${String(ran.stdout.length)} bytes`);
    t.equal(server.stats().requests.ping, 3);
    await waitFor('the connection of the server to be freed', () => server.connections() === 0);
  });

  await t.test('bmux-stream exits when the server ends, also while stdin is open', async (t) => {
    const child = bmuxd.spawnShim([]);
    t.teardown(() => child.kill('SIGKILL'));
    await isLive();
    server.dropAll();
    t.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
  });

  for (const stdinEnds of [false, true])
    await t.test(
      `a lost connection to the server is a failure, while stdin ${stdinEnds ? 'has ended' : 'is open'}`,
      async (t) => {
        const { child, ended, stderr } = await live(t);
        // The server does not read the pings, so its close resets the connection.
        server.hold();
        t.teardown(() => server.release());
        const pings = [1n, 2n, 3n].map((id) => encodeRequestFrame(4, id, { type: 'ping' }));
        const sent = Buffer.concat(pings);
        if (stdinEnds) child.stdin?.end(sent);
        else child.stdin?.write(sent);
        await waitFor('the pings to be passed on', async () => {
          const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
          return streams[0]?.bytesUp === sent.length;
        });
        server.dropAll();
        t.same(await ended, [8, null]);
        t.match(
          stderr(),
          /^the stream through bmuxd broke: the connection to its server was lost: read ECONNRESET\n/,
        );
      },
    );

  await t.test('a killed engine is a failure, not an end of the server', async (t) => {
    const { ended, stderr } = await live(t);
    process.kill(await bmuxd.enginePid(), 'SIGKILL');
    t.same(await ended, [8, null]);
    t.match(stderr(), /^the stream through bmuxd broke: its engine has died\n/);
    await bmuxd.enginePid();
  });

  await t.test('bmux-stream exits without a crash when nobody reads its stdout', async (t) => {
    const child = bmuxd.spawnShim([]);
    t.teardown(() => child.kill('SIGKILL'));
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.stdin?.on('error', () => undefined);
    await isLive();
    child.stdout?.destroy();
    child.stdin?.write(encodeRequestFrame(4, 1n, { type: 'ping' }));
    t.equal(await new Promise((resolve) => child.once('exit', resolve)), 1);
    t.equal(stderr, '');
    await waitFor('the connection of the server to be freed', () => server.connections() === 0);
  });

  await t.test('an unknown name connects to the local server, with a warning', async (t) => {
    const ran = await bmuxd.shim(['prd']);
    t.match(ran, { status: 0, stderr: /^bmux-stream: target 'prd' is not configured/ });
  });

  await t.test('--epoch, --scope, --raw and --build-of are sent to the daemon', async (t) => {
    const epoch = await bmuxd.shim(['--epoch', '3']);
    t.match(epoch, { status: 1, stderr: /^bmux error: incompatible IPC wire epoch \(client=3, server=4\)/ });
    const meta = {
      pid: process.pid,
      version: '0',
      build_id: '1-2',
      executable_path: '/x',
      started_at_epoch_ms: 1,
    };
    await writeFile(join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server-meta.json'), JSON.stringify(meta));
    await bmuxd.configure('bmux.toml', '[behavior]\nstale_build_action = "error"\n');
    const stale = await bmuxd.shim(['--build-of', SHIM]);
    t.match(stale, { status: 5, stderr: /^bmux error: running server build differs/ });
    for (const args of [
      [],
      ['--build-of', SHIM, '--scope', 'recovery_inspection'],
      ['--build-of', SHIM, '--raw'],
    ])
      t.match(await bmuxd.shim(args), { status: 0, stderr: '' }, args.join(' '));
    t.match(await bmuxd.shim(['--build-of', '/nowhere/x']), { status: 1, stderr: /\/nowhere\/x/ });
  });

  await t.test('bmux-stream loads no modules besides node:net and those that it needs itself', async (t) => {
    const hook = join(bmuxd.folder, 'loaded.cjs');
    await writeFile(
      hook,
      `require('node:net'); process.stdin; process.stdout; require('node:os'); require('node:fs');
       const before = new Set(process.moduleLoadList);
       process.on('exit', () => require('node:fs').writeFileSync(process.env.LOADED, process.moduleLoadList.filter((name) => !before.has(name)).join()));`,
    );
    const loaded = join(bmuxd.folder, 'loaded');
    // A shell unsets NODE_OPTIONS, because a test runner may load modules of its own with it.
    const plain = 'unset NODE_OPTIONS; exec "$0" "$@"';
    const child = spawn('sh', ['-c', plain, process.execPath, '--require', hook, SHIM], {
      env: { ...bmuxd.env, LOADED: loaded },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    t.match(await collect(child), { status: 0, stderr: '' });
    // Internal modules of Node are not counted, because they depend on its version.
    const modules = (await readFile(loaded, 'utf8')).split(',');
    t.same(
      modules.filter((name) => name.startsWith('NativeModule ') && !name.includes(' internal/')),
      [],
    );
  });

  await t.test('an aborted request leaves no connection', async (t) => {
    server.hold();
    const abort = new AbortController();
    const asked = bmuxd.open({ signal: abort.signal });
    abort.abort(new Error('enough'));
    await t.rejects(asked, { message: 'enough' });
    const late = await failureOf(bmuxd.open({ timeoutMs: 100 }));
    t.match(late.data, { code: 'out_of_time', exitStatus: 7 });
    server.release();
    await waitFor('the connection of the server to be freed', () => server.connections() === 0);
  });

  await t.test('a request with an infinite time limit is served', async () => {
    // This time is longer than the maximum of a timer.
    await bmuxd.configure('bmux.toml', '[general]\nserver_timeout = 4294967295\n');
    const { stream, info } = await bmuxd.open({ timeoutMs: Infinity });
    const client = new TestClient(stream, { epoch: info.epoch });
    await client.ping();
    await client.close();
  });

  await t.test(
    'a suspended daemon is reported after a while, but a slow server is not mistaken for one',
    async (t) => {
      await bmuxd.configure('bmux.toml', '[general]\nserver_timeout = 30000\n');
      server.hold();
      t.teardown(() => {
        server.release();
      });
      const dial = bmuxd.open();
      await new Promise((resolve) => setTimeout(resolve, 2500));
      server.release();
      const { stream } = await dial;
      stream.destroy();

      bmuxd.signal('SIGSTOP');
      t.teardown(() => {
        bmuxd.signal('SIGCONT');
      });
      const started = performance.now();
      const stopped = await failureOf(bmuxd.open());
      t.match(stopped.data, { code: 'daemon_not_answering', exitStatus: 7, remedy: /\w/ });
      t.ok(performance.now() - started < 10_000);
      const status = await bmuxd.bmuxd(['status', '--json']);
      t.equal(status.status, 1);
      t.match(JSON.parse(status.stdout), { schema: 1, state: 'degraded', code: 'daemon_not_answering' });
    },
  );
});

t.test('wrong usage is refused with its reason', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const rows: readonly [args: string[], text: RegExp][] = [
    [['a', 'b'], /unexpected argument 'b'/],
    [['--tarjet'], /unknown option --tarjet/],
    [['--scope', 'x'], /--scope: expected normal or recovery_inspection/],
    [['--epoch=5'], /--epoch: expected 3 or 4/],
    [['--client-name'], /--client-name needs a value/],
    [['--raw=yes'], /--raw takes no value/],
  ];
  await Promise.all(
    rows.map(async ([args, text]) => {
      t.match(await shimAt(sandbox, args), { status: 2, stderr: text, stdout: '' });
    }),
  );
  t.match(await shimAt(sandbox, ['--help']), { status: 0, stdout: /^Usage: bmux-stream \[TARGET\]/ });
  t.match(await shimAt(sandbox, ['--version']), { status: 0, stdout: /^bmux-stream \d+\.\d+\.\d+/ });
});
