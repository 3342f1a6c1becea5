// Tests that a runtime dir has one daemon at a time, that the dir must be private, and that a service manager can pass the sockets.
import { spawn } from 'node:child_process';
import { chmod, mkdir, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { openStream, type Failure } from '../../../client-shim/index.ts';
import { BMUXD, makeSandbox, startBmuxd, type Sandbox } from '../../daemon/bmuxd.ts';
import { isAlive, startChild, waitFor } from '../../real/child.ts';
import { run } from '../../real/server.ts';

const runAt = (sandbox: Sandbox, env: Readonly<Record<string, string>> = {}) =>
  run(process.execPath, [BMUXD, 'run'], { ...sandbox.env, ...env });

t.test('only one daemon runs at a time', async (t) => {
  const bmuxd = await startBmuxd({ settings: '[engine]\ndrain_grace = 0.1\n' });
  t.teardown(() => bmuxd.stop());
  const second = await runAt(bmuxd);
  t.equal(second.status, 1);
  t.match(
    second.stderr,
    new RegExp(`^bmuxd is already running: pid ${String(bmuxd.pid)}, version \\d[^ ]*, since 20[^ ]*Z\\.\n`),
  );
  t.match(await bmuxd.status(), { pid: bmuxd.pid, state: 'ready' });

  await bmuxd.killControl();
  t.equal((await bmuxd.bmuxd(['status'])).status, 3, 'no daemon answers on a stale socket');
  const starts = [1, 2, 3].map(() =>
    startChild({
      command: process.execPath,
      args: [BMUXD, 'run'],
      env: bmuxd.env,
      ready: (output) => output.includes('"engine is ready"'),
    }),
  );
  const results = await Promise.allSettled(starts);
  const running = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  for (const daemon of running) t.teardown(() => daemon.stop());
  t.equal(running.length, 1, 'of several daemons that start on a stale socket at the same time, one runs');
  for (const result of results) {
    if (result.status === 'rejected') t.match(String(result.reason), 'bmuxd is already running: pid');
  }
  t.equal((await bmuxd.status()).pid, running[0]?.pid);
});

t.test('a start fails when another program listens on the control socket', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  await mkdir(join(sandbox.folder, 'd'), { mode: 0o700 });
  const foreign = createServer((socket) => socket.on('error', () => undefined).end('hello\n'));
  await new Promise<void>((resolve) => foreign.listen(sandbox.socketPath, resolve));
  t.teardown(() => foreign.close());
  const refused = await runAt(sandbox);
  t.equal(refused.status, 1);
  t.match(refused.stderr, `what listens on ${sandbox.socketPath} is not bmuxd`);
});

t.test('a runtime dir that other users can access is refused with reason and remedy', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const folder = join(sandbox.folder, 'x');
  await mkdir(folder);
  await chmod(folder, 0o777);
  const open = await runAt(sandbox, { BMUXD_RUNTIME_DIR: folder });
  t.equal(open.status, 6);
  t.match(open.stderr, `${folder} can be changed by others (mode 0777)\n`);
  t.match(open.stderr, 'run `chmod go-w` on it');
  await chmod(folder, 0o700);
  const link = join(sandbox.folder, 'link');
  await symlink(folder, link);
  const linked = await runAt(sandbox, { BMUXD_RUNTIME_DIR: link });
  t.match(linked, { status: 6, stderr: `the folder ${link} is a symbolic link\n` });
  if (process.getuid?.() !== 0) {
    const foreign = await runAt(sandbox, { BMUXD_RUNTIME_DIR: '/' });
    t.match(foreign, { status: 6, stderr: 'the folder / belongs to user 0, not to you' });
  }
  const long = join(sandbox.folder, 'y'.repeat(100));
  const tooLong = await runAt(sandbox, { BMUXD_RUNTIME_DIR: long });
  t.match(tooLong, { status: 1, stderr: /is \d+ bytes long; the system takes 10[37]/ });
  await writeFile(join(sandbox.folder, 'file'), '');
  const file = await runAt(sandbox, { BMUXD_RUNTIME_DIR: join(sandbox.folder, 'file') });
  t.match(file, { status: 6, stderr: 'file is not a folder\n' });
});

t.test('the umask of the shell does not change the modes of folders and sockets', async (t) => {
  for (const mask of [0o000, 0o777]) {
    const before = process.umask(mask);
    const starting = makeSandbox().then((sandbox) => ({
      sandbox,
      child: startChild({
        command: process.execPath,
        args: [BMUXD, 'run'],
        env: sandbox.env,
        ready: (output) => output.includes('"engine is ready"'),
      }),
    }));
    // Only the program is started with the changed umask. The folders of the test itself are made with the usual one.
    process.umask(before);
    const { sandbox, child: started } = await starting;
    t.teardown(() => sandbox.remove());
    const child = await started;
    t.teardown(() => child.stop());
    for (const name of ['d', 'd/engines']) {
      t.equal(
        (await stat(join(sandbox.folder, name))).mode & 0o777,
        0o700,
        `${name} under ${mask.toString(8)}`,
      );
    }
    t.equal((await stat(sandbox.socketPath)).mode & 0o077, 0);
  }
});

/** The descriptor of a server, for which Node has no public property. */
function fdOf(server: Server): number {
  const handle: unknown = Reflect.get(server, '_handle');
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) throw new Error('no handle');
  return Number(handle.fd);
}

const PASSED: readonly (readonly string[])[] = [['control'], ['streams', 'control']];
for (const names of PASSED)
  t.test(`passed sockets are served, and their files are not removed: ${names.join(', ')}`, async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    await mkdir(join(sandbox.folder, 'd'), { mode: 0o700 });
    // The sockets are bound here and kept open by a shell, as by a service manager. The shell starts one daemon after the other.
    const paths = names.map((name) => (name === 'control' ? sandbox.socketPath : sandbox.streamsPath));
    const holders: Server[] = [];
    for (const path of paths) {
      const holder = createServer();
      await new Promise<void>((resolve) => holder.listen(join(sandbox.folder, 'd', '.x'), resolve));
      await rename(join(sandbox.folder, 'd', '.x'), path);
      holders.push(holder);
    }
    const starts = 3;
    const count = String(names.length);
    const daemon = `sh -c 'LISTEN_FDS=${count} LISTEN_FDNAMES=${names.join(':')} LISTEN_PID=$$ exec "$NODE" "$BMUXD" run'`;
    const shell = spawn('sh', ['-c', `for i in $(seq ${String(starts)}); do ${daemon}; done`], {
      env: { ...sandbox.env, NODE: process.execPath, BMUXD },
      stdio: ['ignore', 'ignore', 'pipe', ...holders.map(fdOf)],
    });
    for (const holder of holders) holder.close();
    let log = '';
    shell.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      log += chunk;
    });
    const over = new Promise<void>((resolve) => shell.once('exit', () => resolve()));
    const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], sandbox.env);
    // Clients send requests meanwhile. None may fail while a daemon is replaced.
    let going = true;
    let asked = 0;
    const ask = async (): Promise<void> => {
      while (going) {
        const { code } = await openStream({ env: sandbox.env, ifRunning: true, timeoutMs: 20_000 }).then(
          () => ({ code: 'a stream' }),
          (error: Failure) => error,
        );
        // On a busy machine a start may take longer than a client waits for any answer. It then fails with `daemon_not_answering`.
        if (code !== 'nothing_there' && code !== 'daemon_not_answering') throw new Error(code);
        if (code === 'nothing_there') asked += 1;
      }
    };
    const asking = Promise.all([ask(), ask()]);
    const pids = new Set<number>();
    for (let i = 0; i < starts; i += 1) {
      // The very first request waits in the queue of the socket until the daemon accepts.
      const status = await bmuxd('status', '--json', '--wait', '20');
      t.equal(status.status, 0, log);
      const { pid } = JSON.parse(status.stdout) as { pid: number };
      pids.add(pid);
      const before = asked;
      await waitFor('some requests', () => asked > before + 10);
      if (i + 1 < starts) {
        process.kill(pid, 'SIGTERM');
        // It may still answer the next question otherwise.
        await waitFor('it to leave', () => !isAlive(pid));
        continue;
      }
      going = false;
      await asking;
      t.equal((await bmuxd('stop')).status, 0);
    }
    await over;
    t.equal(pids.size, starts);
    for (const path of paths) t.ok((await stat(path)).isSocket(), 'the path is still there');
  });

t.test('passed descriptors that are not the expected sockets are refused', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const activated = (fds: string) =>
    run('sh', ['-c', `LISTEN_FDS=${fds} LISTEN_PID=$$ exec "$NODE" "$BMUXD" run 3</dev/null`], {
      ...sandbox.env,
      NODE: process.execPath,
      BMUXD,
    });
  t.match(await activated('1'), {
    status: 1,
    stderr: /^LISTEN_FDS names a socket that bmuxd cannot listen on/,
  });
  t.match(await activated('2'), { status: 1, stderr: /it passes 2 sockets with the names ''/ });
});
