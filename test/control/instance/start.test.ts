// Tests starts of the real daemon that fail or wait. Each ends with a named failure or on a signal, and leaves no files.
import { spawn } from 'node:child_process';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { BMUXD, makeSandbox, type Sandbox } from '../../daemon/bmuxd.ts';
import type { Status } from '../../../daemon/api/answers.ts';
import { ownIdentity } from '../../../daemon/base/process/identity.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { underLock } from '../../../daemon/control/instance/start-lock.ts';
import { holdTime } from '../../base/async/held-timers.ts';
import { run } from '../../real/server.ts';
import { waitFor } from '../../real/child.ts';

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  /** ms from the last signal to the end. */
  readonly took: number;
}

interface Starting {
  readonly stderr: () => string;
  /** Sends `signal` and resolves when the program has ended. After 30 s the program is killed. */
  end(signal?: NodeJS.Signals): Promise<Ended>;
}

/** Starts a program with Node. */
function starting(args: readonly string[], env: Readonly<Record<string, string>>): Starting {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const closed = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (status, signal) => resolve([status, signal]));
  });
  return {
    stderr: () => stderr,
    end: async (signal) => {
      const from = performance.now();
      if (signal !== undefined) child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      const [status, by] = await closed;
      clearTimeout(timer);
      return { status, signal: by, stderr, took: performance.now() - from };
    },
  };
}

const daemon = (sandbox: Sandbox, env: Readonly<Record<string, string>> = {}): Starting =>
  starting([BMUXD, 'run'], { ...sandbox.env, ...env });

async function sandbox(t: Test): Promise<Sandbox> {
  const made = await makeSandbox();
  t.teardown(() => made.remove());
  return made;
}

/** The root folder of a file system that is mounted read-only; undefined when there is none. */
async function readOnlyFolder(): Promise<string | undefined> {
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '');
  const rows = mounts.split('\n').map((line) => line.split(' '));
  return rows.find(
    ([, , type = '', options = '']) => /^(sysfs|proc)$/.test(type) && /^ro\b/.test(options),
  )?.[1];
}

t.test('a start fails with the path when the runtime dir cannot be made', async (t) => {
  const made = await sandbox(t);
  const path = (name: string): string => join(made.folder, name);
  await writeFile(path('file'), '');
  await symlink(path('nowhere'), path('dangling'));
  const rows: [dir: string, status: number, text: string][] = [
    [path('file/x'), 1, 'failed creating runtime dir'],
    [path('file'), 6, 'is not a folder'],
    ['/dev/null/x', 1, 'failed creating runtime dir'],
    [path('dangling/x'), 1, 'failed creating runtime dir'],
    [path('dangling'), 6, 'is a symbolic link'],
  ];
  if (process.platform === 'linux') {
    rows.push(['/proc/x', 1, 'failed creating runtime dir'], ['/sys/x', 1, 'failed creating runtime dir']);
    const readOnly = await readOnlyFolder();
    if (readOnly === undefined) t.comment('no file system is mounted read-only here');
    else rows.push([join(readOnly, 'x'), 1, 'failed creating runtime dir']);
  }
  await Promise.all(
    rows.map(async ([dir, status, text]) => {
      const ended = await daemon(made, { BMUXD_RUNTIME_DIR: dir }).end();
      t.match(ended, { status, signal: null }, dir);
      t.ok(ended.stderr.includes(text) && ended.stderr.includes(dir), ended.stderr);
    }),
  );
});

t.test('a failed start takes a second where a service manager starts the daemon again', async (t) => {
  const made = await sandbox(t);
  await writeFile(join(made.folder, 'file'), '');
  const env = { BMUXD_RUNTIME_DIR: join(made.folder, 'file'), NOTIFY_SOCKET: join(made.folder, 'none') };
  const { status, took } = await daemon(made, env).end();
  t.equal(status, 6);
  t.ok(took >= 1000, String(took));
});

t.test(
  'a state folder that cannot be made does not prevent the start',
  { skip: process.platform !== 'linux' && 'no /proc here' },
  async (t) => {
    const made = await sandbox(t);
    const child = daemon(made, { XDG_STATE_HOME: '/proc/x' });
    await waitFor('the engine', () => child.stderr().includes('"engine is ready"')).catch(() => undefined);
    t.match(child.stderr(), /"engine is ready"/);
    t.match(await child.end('SIGTERM'), { status: 0, signal: null });
    // The engine stays for some seconds, in which it would write its compiled code.
    await waitFor('the engine to leave', async () => {
      const names = await readdir(join(made.folder, 'd', 'engines'));
      return !names.some((name) => name.endsWith('.sock'));
    });
  },
);

t.test('a signal ends a start that waits for the lock of another start', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const made = await sandbox(t);
    const dir = join(made.folder, 'd');
    const lock = join(dir, 'start.lock');
    await mkdir(lock, { recursive: true, mode: 0o700 });
    const later = new Date(Date.now() + 60_000);
    await utimes(lock, later, later);
    const child = daemon(made);
    await waitFor('the start', async () => (await readdir(dir)).includes('engines'));
    const ended = await child.end(signal);
    t.match(ended, { status: 0, signal: null, stderr: '' });
    t.ok(ended.took < 10_000, `${String(ended.took)} ms, and the lock is held for a minute`);
    t.same(
      (await readdir(dir)).sort(),
      ['engines', 'start.lock'],
      'the lock of the other start is not removed',
    );
  }
});

t.test('the lock of a start that was killed is taken over at once', async (t) => {
  const made = await sandbox(t);
  const dir = join(made.folder, 'd');
  await mkdir(dir, { mode: 0o700 });
  const dead = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => dead.once('exit', resolve));
  const lock = join(dir, 'start.lock');
  await writeFile(lock, JSON.stringify({ ...ownIdentity(), pid: dead.pid }));
  // Its age must not decide: the lock would be fresh for a minute.
  const later = new Date(Date.now() + 60_000);
  await utimes(lock, later, later);
  const child = daemon(made);
  await waitFor('the start', () => child.stderr().includes('"bmuxd is up"'));
  t.match(await child.end('SIGTERM'), { status: 0 });
  t.notOk((await readdir(dir)).some((name) => name.startsWith('start.lock')));
});

t.test('starts wait for each other', async (t) => {
  const dir = t.testdir({});
  const order: string[] = [];
  const start = (name: string): Promise<void> =>
    underLock(dir, undefined, async (isLost) => {
      order.push(`${name} begins`);
      await sleep(100);
      t.notOk(await isLost());
      order.push(`${name} ends`);
    });
  await Promise.all(['a', 'b', 'c'].map(start));
  for (let at = 0; at < order.length; at += 2) t.equal(order[at + 1], order[at]?.replace('begins', 'ends'));
  t.equal(order.length, 6);
  t.same(await readdir(dir), []);
});

t.test('a runtime dir that others can only read is made private; the log says so', async (t) => {
  const made = await sandbox(t);
  const dir = join(made.folder, 'd');
  await mkdir(join(dir, 'targets'), { recursive: true });
  await chmod(dir, 0o755);
  const child = daemon(made);
  await waitFor('the start', () => child.stderr().includes('"bmuxd is up"'));
  t.equal((await stat(dir)).mode & 0o777, 0o700);
  t.match((await child.end('SIGTERM')).stderr, /"mode":"0755","msg":"the folder was open to others/);
  // A folder with other things in it is not the daemon's alone.
  await writeFile(join(dir, 'notes'), '');
  await chmod(dir, 0o755);
  t.match(await daemon(made).end(), { status: 6, stderr: /is open to others \(mode 0755\)/ });
  t.equal((await stat(dir)).mode & 0o777, 0o755);
});

const linux = process.platform !== 'linux' && 'no /proc here';
t.test('no process of the daemon stays in the folder of the start', { skip: linux }, async (t) => {
  const made = await sandbox(t);
  const socket = join(made.folder, 'd', 'control.sock');
  await mkdir(join(made.folder, 'start'), { mode: 0o700 });
  const child = spawn(process.execPath, [BMUXD, 'run'], {
    cwd: join(made.folder, 'start'),
    env: { ...made.env, BMUXD_SOCKET: '../d/control.sock', BMUXD_CONFIG: 'bmuxd.toml' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (text: Buffer) => {
    stderr += text.toString();
  });
  await waitFor('the engine', () => stderr.includes('"streams are accepted"'));
  const shown = await run(process.execPath, [BMUXD, 'status', '--json'], {
    ...made.env,
    BMUXD_SOCKET: socket,
  });
  const { pid, engines } = JSON.parse(shown.stdout) as Status;
  t.equal(await readlink(`/proc/${String(pid)}/cwd`), '/');
  for (const engine of engines) t.equal(await readlink(`/proc/${String(engine.pid)}/cwd`), '/');
  t.equal((await run(process.execPath, [BMUXD, 'stop'], { ...made.env, BMUXD_SOCKET: socket })).status, 0);
});

t.test('a lack in the environment is a named failure', async (t) => {
  const made = await sandbox(t);
  const under = (before: string): ReturnType<typeof run> =>
    run('/bin/sh', ['-c', `${before} "$0" "$@"`, process.execPath, BMUXD, 'run'], made.env);
  // How few files Node itself needs depends on its version.
  let few = await under('ulimit -n 16; exec');
  for (let limit = 17; limit < 40 && !few.stderr.startsWith('no more files'); limit += 1)
    few = await under(`ulimit -n ${limit}; exec`);
  t.equal(few.status, 1, few.stderr);
  t.match(few.stderr, /^no more files can be opened: [^\n]*EMFILE[^\n]*\nRaise the limit[^\n]*\n$/);
  const nobody = await under(
    'command -v setpriv >&2 || exit 77; unset HOME; exec setpriv --reuid=54321 --clear-groups',
  );
  if (nobody.status === 77 || nobody.stderr.includes('setpriv:'))
    t.comment('no other user can be taken here');
  else
    t.match(nobody, { status: 2, stderr: /the home folder is not known.*\nSet HOME\. \[home_unknown\]\n$/s });
});

t.test('a start waits for another one until its limit', async (t) => {
  const dir = t.testdir({ 'start.lock': `${JSON.stringify(ownIdentity())}\n` });
  const time = holdTime(t);
  let why: unknown;
  void underLock(dir, undefined, () => Promise.resolve()).catch((error: unknown) => (why = error));
  await time.pass(7499);
  t.equal(why, undefined);
  // Its looks at the file take real time.
  for (let more = 0; why === undefined && more < 500; more += 1) await time.pass(10);
  t.match(why, { code: 'daemon_starting' });
});

t.test('a signal ends a start that waits for an answer on the instance socket', async (t) => {
  const made = await sandbox(t);
  const dir = join(made.folder, 'd');
  await mkdir(dir, { mode: 0o700 });
  let asked = false;
  const server = createServer(() => {
    asked = true;
  });
  await new Promise<void>((resolve) => server.listen(join(dir, 'instance.sock'), resolve));
  t.teardown(() => server.close());
  const child = daemon(made);
  await waitFor('the question', () => asked);
  const ended = await child.end('SIGTERM');
  t.match(ended, { status: 0, signal: null, stderr: '' });
  t.same((await readdir(dir)).sort(), ['engines', 'instance.sock']);
});

t.test('a signal ends a start that hangs in a system call', async (t) => {
  const child = starting(
    [fileURLToPath(new URL('hanging-start.js', import.meta.url)), join(t.testdir({}), 'fifo')],
    {},
  );
  await waitFor('the start', () => child.stderr().includes('starting'));
  const ended = await child.end('SIGTERM');
  t.match(ended, { status: null, signal: 'SIGTERM' });
});
