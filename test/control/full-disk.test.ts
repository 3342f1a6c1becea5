// Tests what happens while a disk is full: that of the log and the state, and that of the runtime dir.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { BMUXD, makeSandbox } from '../daemon/bmuxd.ts';
import { exchange } from '../daemon/raw-http.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { startChild, waitFor } from '../real/child.ts';
import { run, type Ran } from '../real/server.ts';

/** A file system of 64 KiB can be mounted in a mount namespace, by root only. */
const skip =
  spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', '/mnt']).status === 0
    ? false
    : 'a small file system cannot be mounted here';

t.test('a full disk loses log lines, but neither the log nor the state files', { skip }, async (t) => {
  const sandbox = await makeSandbox({ settings: '[engine]\ndrain_grace = 0.1\n' });
  t.teardown(() => sandbox.remove());
  const disk = join(sandbox.folder, 'disk');
  mkdirSync(disk, { mode: 0o700 });
  const env: Readonly<Record<string, string>> = { ...sandbox.env, XDG_STATE_HOME: join(disk, 'state') };
  const server = await EmbeddedServer.start({
    socketPath: join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const child = await startChild({
    command: 'unshare',
    args: [
      '-m',
      '/bin/sh',
      '-c',
      'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1" && exec 2>>"$1/log" && exec "$2" "$3" run',
      'sh',
      disk,
      process.execPath,
      BMUXD,
    ],
    env,
    ready: async () => (await run(process.execPath, [BMUXD, 'status'], env)).status === 0,
  });
  t.teardown(() => child.stop());
  const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], env);
  const codes = async (): Promise<string[]> =>
    (JSON.parse((await bmuxd('status', '--json')).stdout) as Status).problems.map(
      ({ failure }) => failure.code,
    );
  const reload = () =>
    exchange(sandbox.socketPath, 'POST /v1/reload HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  /** The disk is seen through the mount namespace of the daemon. */
  const path = (name: string): string => join('/proc', String(child.pid), 'root', disk, name);
  const contexts = (): string => readFileSync(path('state/bmuxd/contexts.json'), 'utf8');

  t.match(await bmuxd('env', 'local'), { status: 0 });
  await waitFor('the state file', () => statSync(path('state/bmuxd/contexts.json')).size > 0);
  const before = contexts();
  try {
    writeFileSync(path('filler'), Buffer.alloc(128 * 1024));
  } catch {
    // It takes all room that there is.
  }
  const other = { ...env, SSH_AUTH_SOCK: join(sandbox.folder, 'agent') };
  t.match(await run(process.execPath, [BMUXD, 'env', 'local'], other), { status: 0 });
  await waitFor('both in the status', async () => {
    for (let n = 0; n < 20; n += 1) await reload();
    const found = await codes();
    return found.includes('log_unwritable') && found.includes('state_unwritable');
  });
  t.equal(contexts(), before, 'the file is as it was');
  t.notOk(child.exited());

  rmSync(path('filler'));
  await waitFor('a ready daemon', async () => (await codes()).length === 0);
  t.not(contexts(), before);
  t.ok(JSON.parse(contexts()));
  const lines = readFileSync(path('log'), 'utf8').trimEnd().split('\n');
  const told = lines.find((line) => line.includes('of the log were lost')) ?? '';
  t.match(JSON.parse(told), { level: 'warn', process: 'control', lost: Number });
  await reload();
  t.match(readFileSync(path('log'), 'utf8').slice(lines.join('\n').length), /"reloaded"/);
  await bmuxd('stop');
});

t.test('a start on a full disk says so, also where its stderr is on that disk', { skip }, async (t) => {
  t.match(await onFullDisk(t, 'start'), {
    status: 1,
    stderr: /^bmuxd could not be started: [^]*ENOSPC[^]*Make room on its disk/,
  });
});

t.test('the doctor finds a full disk without a daemon', { skip }, async (t) => {
  const { status, stdout } = await onFullDisk(t, 'doctor');
  t.equal(status, 1);
  for (const code of ['control_socket_unbindable', 'state_unwritable']) t.match(stdout, code);
  t.match(stdout, /no space is left on its disk[^]*Make room on its disk/);
});

/** Runs bmuxd with one argument, where the runtime dir and the state are on a disk without room. */
async function onFullDisk(t: Test, arg: string): Promise<Ran> {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const disk = join(sandbox.folder, 'disk');
  mkdirSync(disk, { mode: 0o700 });
  const env = {
    ...sandbox.env,
    BMUXD_RUNTIME_DIR: join(disk, 'd'),
    XDG_STATE_HOME: join(disk, 'state'),
  };
  const script = [
    'mount -t tmpfs -o size=64k,mode=700 tmpfs "$1"',
    'mkdir -m 700 "$1/d" "$1/state"',
    '{ cat /dev/zero >"$1/filler" || true; } 2>/dev/null',
    'exec "$2" "$3" "$4"',
  ];
  const args = ['-m', '/bin/sh', '-c', script.join(' && '), 'sh', disk, process.execPath, BMUXD, arg];
  return run('unshare', args, env);
}

/** What runs in a mount namespace with a runtime dir of 64 KiB: each line of output is what a step says. */
const FULL_RUNTIME_DIR = `
mount -t tmpfs -o size=64k,mode=700 tmpfs "$BMUXD_RUNTIME_DIR" || exit 77
bmuxd() { "$NODE" "$BMUXD" "$@"; }
bmuxd start >/dev/null || exit 1
cat /dev/zero 2>/dev/null >"$BMUXD_RUNTIME_DIR/filler"
bmuxd restart 2>&1 | grep -c 'ENOSPC\\|Make room'
bmuxd status | head -1 | cut -d' ' -f1,3
ls "$BMUXD_RUNTIME_DIR/engines" | grep -c 'sock$'
bmuxd stop
ls "$BMUXD_RUNTIME_DIR"
`;

t.test('a runtime dir without room', { skip }, async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  mkdirSync(join(sandbox.folder, 'd'), { mode: 0o700 });
  const env = { ...sandbox.env, NODE: process.execPath, BMUXD };
  const { stdout, stderr } = await run('unshare', ['-m', '/bin/sh', '-c', FULL_RUNTIME_DIR], env);
  const [said, state, sockets, stopped, ...left] = stdout.trim().split('\n');
  t.equal(said, '2', `a restart that fails says why, and what to do: ${stderr}`);
  t.equal(state, 'bmuxd ready', 'the former daemon goes on');
  t.equal(sockets, '1', 'the engine of the restart has left no socket');
  t.equal(stopped, 'bmuxd has stopped');
  // With instance.json, clients would wait for a daemon that was killed.
  t.strictSame(left, ['engines', 'filler', 'targets']);
});

t.test(
  'on a disk that is read-only the daemon starts and restarts, and says what is missing',
  { skip },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const disk = join(sandbox.folder, 'disk');
    mkdirSync(disk, { mode: 0o700 });
    const commands = ['start', 'restart', 'status', 'stop'].map((one) => `"$2" "$3" ${one}`).join('; ');
    const ran = await run(
      'unshare',
      ['-m', 'sh', '-c', `mount -t tmpfs -o ro tmpfs "$1"; ${commands}`, 'sh', disk, process.execPath, BMUXD],
      { ...sandbox.env, XDG_STATE_HOME: join(disk, 'state') },
    );
    t.match(
      ran.stdout,
      /^bmuxd has started: [^]*\nbmuxd has restarted: [^]*degraded [^]*read-only[^]*serving[^]*\nbmuxd has stopped\n$/,
      ran.stderr,
    );
    t.notMatch(ran.stderr, /daemon_unstarted/);
  },
);
