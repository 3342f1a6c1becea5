// Tests that another user gets neither requests nor streams: not by a folder or socket of theirs, and not by replacing ours.
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { openStream } from '../../../client-shim/index.ts';
import type { StreamList } from '../../../daemon/api/answers.ts';
import { makeTargetSocketFolder } from '../../../daemon/control/target-sockets/folder.ts';
import { bindSocket } from '../../../daemon/sockets/bind.ts';
import { httpRequest } from '../../../daemon/sockets/http-request.ts';
import { BMUXD, makeSandbox, SHIM, startBmuxd } from '../../daemon/bmuxd.ts';
import { waitFor } from '../../real/child.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { run } from '../../real/server.ts';

t.test(
  'clients and the daemon send nothing to a socket that another user has made',
  { skip: process.getuid?.() !== 0 && 'only root can change the owner of a folder' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const dir = join(sandbox.folder, 'd');
    await mkdir(dir, { mode: 0o755 });
    let heard = 0;
    for (const path of [sandbox.socketPath, sandbox.streamsPath]) {
      const planted = createServer((socket) => {
        heard += 1;
        socket.end();
      });
      await new Promise<void>((resolve) => planted.listen(path, resolve));
      t.teardown(() => planted.close());
    }
    await chown(dir, 65_534, 65_534);
    const refusal = `other users could take the place of bmuxd: ${dir} belongs to user 65534, not to you (0)`;
    // `bmuxd env` sets BMUXD_SOCKET in a shell.
    const explicit = { ...sandbox.env, BMUXD_SOCKET: sandbox.socketPath };
    const commands = [
      [BMUXD, 'status'],
      [BMUXD, 'targets'],
      [BMUXD, 'drop', 'x'],
      [BMUXD, 'reload'],
      [BMUXD, 'events'],
      [BMUXD, 'stop'],
      [BMUXD, 'env', 'local'],
      [SHIM, 'x'],
    ];
    await Promise.all(
      commands.flatMap((args) =>
        [sandbox.env, explicit].map(async (env) => {
          const { status, stdout, stderr } = await run(process.execPath, args, env);
          t.equal(status, args[1] === 'status' ? 1 : 6, args.join(' '));
          t.ok(`${stdout}${stderr}`.includes(refusal), `${stdout}${stderr}`);
        }),
      ),
    );
    for (const option of [{ env: sandbox.env }, { env: explicit }, { socketPath: sandbox.socketPath }])
      await t.rejects(openStream(option), { code: 'path_insecure', message: refusal });
    const question = { socketPath: sandbox.socketPath, method: 'GET', path: '/', timeoutMs: 5000 } as const;
    await t.rejects(httpRequest(question), { code: 'path_insecure' });
    t.equal(heard, 0, 'nothing has connected');

    await chown(dir, 0, 0);
    await chmod(dir, 0o777);
    await t.rejects(openStream({ socketPath: sandbox.socketPath }), { code: 'path_insecure' }, 'open to all');
    await t.rejects(bindSocket(createServer(), join(dir, 'x.sock')), { code: 'path_insecure' });
    await t.rejects(makeTargetSocketFolder(join(dir, 'targets'), 'x', createServer()), {
      code: 'path_insecure',
    });
    t.equal(heard, 0, 'nothing has connected');
    await chmod(dir, 0o700);
    const refused = t.rejects(openStream({ socketPath: sandbox.socketPath, timeoutMs: 5000 }));
    await waitFor('the planted sockets to hear', () => heard > 0);
    await refused;
  },
);

t.test('the daemon does not start in a folder that another user can replace', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const parent = join(sandbox.folder, 'open');
  await mkdir(parent);
  await chmod(parent, 0o777);
  const start = (env: Readonly<Record<string, string>>) =>
    run(process.execPath, [BMUXD, 'run'], { ...sandbox.env, ...env });
  const refusal = {
    status: 6,
    stderr: new RegExp(`^other users could take the place of bmuxd: ${parent} can be changed by others`),
  };
  t.match(await start({ BMUXD_RUNTIME_DIR: join(parent, 'd') }), refusal);
  t.match(await start({ BMUXD_SOCKET: join(parent, 'd', 'control.sock') }), refusal);
});

/** Makes the package seem to be missing. */
const NO_LIBRARY = `
const Module = require('node:module');
const load = Module._load;
Module._load = (name, ...rest) => {
  if (name === 'koffi') throw new Error('not installed here');
  return load(name, ...rest);
};
`;

/** Connects to each path, sends a request or the Ping of bmux, and prints how many bytes came until the end, or the error. */
const ASK = `
const PING = Buffer.from([5, 0, 0, 0, 4, 2, 0, 1, 1]);
const GET = 'GET /v1/health HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n';
const ask = (path) => new Promise((done) => {
  let bytes = 0;
  const socket = require('node:net').connect(path);
  socket.on('connect', () => path.endsWith('server.sock') ? socket.end(PING) : socket.write(GET));
  socket.on('data', (data) => { bytes += data.length; });
  socket.on('error', (error) => done(error.code === 'ECONNRESET' || error.code === 'EPIPE' ? bytes : error.code));
  socket.on('close', () => done(bytes));
});
Promise.all(process.argv.slice(1).map(ask)).then((answers) => console.log(JSON.stringify(answers)));
`;

/** The answers that a process of this user gets at the paths: bytes, or an error code. */
function answersTo(uid: number, paths: readonly string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', ASK, ...paths], { uid, gid: uid, cwd: '/', env: {} });
    let text = '';
    child.stdout.on('data', (data: Buffer) => (text += data.toString()));
    child.stderr.on('data', (data: Buffer) => (text += data.toString()));
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(JSON.parse(text));
      } catch {
        reject(new Error(text));
      }
    });
  });
}

t.test(
  'the daemon answers no other user, whatever the modes of its folders and sockets are',
  { skip: process.getuid?.() !== 0 && 'only root can start a process of another user' },
  async (t) => {
    const bmuxd = await startBmuxd({ config: '[connections.targets.one]\ntransport = "local"\n' });
    t.teardown(() => bmuxd.stop());
    const server = await EmbeddedServer.start({
      socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
      epoch: 4,
    });
    t.teardown(() => server.stop());
    t.same((await bmuxd.status()).problems, [], 'peers are checked');
    const dir = join(bmuxd.folder, 'd');
    const targetFolder = join(dir, 'targets', 'one');
    await waitFor('the target socket', async () => (await readdir(targetFolder).catch(() => [])).length > 0);
    const [engine = ''] = await bmuxd.engines();
    const paths = [
      bmuxd.socketPath,
      join(dir, 'instance.sock'),
      bmuxd.streamsPath,
      join(dir, 'engines', engine),
      join(targetFolder, 'server.sock'),
    ];
    for (const folder of [bmuxd.folder, dir, join(dir, 'engines'), join(dir, 'targets'), targetFolder])
      await chmod(folder, 0o755);
    for (const path of paths) await chmod(path, 0o777);
    t.same(await answersTo(65_534, paths), [0, 0, 0, 0, 0], 'closed without a byte');
    await waitFor('both lines in the log', () =>
      ['control', 'engine'].every((name) =>
        new RegExp(`"process":"${name}.*"uid":65534.*a connection of another user was refused`).test(
          bmuxd.log(),
        ),
      ),
    );
    const own = await answersTo(0, paths);
    t.ok(Array.isArray(own) && own.every((bytes) => typeof bytes === 'number' && bytes > 0), String(own));
  },
);

t.test('without the library that asks the kernel, the daemon works and says so', async (t) => {
  const preload = join(t.testdir({ 'preload.cjs': NO_LIBRARY }), 'preload.cjs');
  const bmuxd = await startBmuxd({ env: { NODE_OPTIONS: `--require ${preload}` } });
  t.teardown(() => bmuxd.stop());
  const { problems } = await bmuxd.status();
  t.match(problems, [
    { where: 'sockets', failure: { code: 'peers_unchecked', detail: /\(not installed here\)/ } },
  ]);
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const { stream } = await bmuxd.open({ target: 'local' });
  t.notHas(((await bmuxd.http('GET', '/v1/streams')).body as StreamList).streams[0], { clientPid: Number });
  stream.destroy();
  await chmod(join(bmuxd.folder, 'd'), 0o711);
  await t.rejects(bmuxd.http('GET', '/v1/health'), 'nobody is let in while others could be');
  t.equal((await answersTo(process.getuid?.() ?? 0, [bmuxd.streamsPath]))?.toString(), '0');
  await chmod(join(bmuxd.folder, 'd'), 0o700);
  t.equal((await bmuxd.http('GET', '/v1/health')).status, 200);
});
