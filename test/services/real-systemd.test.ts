// Tests the service with a real `systemd --user`: in a mount namespace with a cgroup of its own, as a user without rights.
import { spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, SHIM } from '../daemon/bmuxd.ts';
import { packageCopy } from '../daemon/package-copy.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import type { Status } from '../../daemon/api/answers.ts';
import { isAlive, waitFor } from '../real/child.ts';
import { run, type Ran } from '../real/server.ts';

/** nobody */
const USER = 65_534;
const SYSTEMD = '/usr/lib/systemd/systemd';
/** $1: the user, $2: the folder, $3: PATH. The manager is the process that is started. */
const START = `
set -e
mount --make-rprivate /
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mkdir -p /run/systemd/system
cgroup=/sys/fs/cgroup/bmuxd-test-$$
mkdir "$cgroup" "$cgroup/init.scope"
echo $$ > "$cgroup/init.scope/cgroup.procs"
chown -R "$1" "$cgroup"
exec setpriv --reuid "$1" --regid "$1" --clear-groups env -i PATH="$3" HOME="$2/home" XDG_RUNTIME_DIR="$2/run" \\
  SYSTEMD_LOG_TARGET=console ${SYSTEMD} --user`;
/** $1: the process of the manager. What it has started must have ended. */
const REMOVE = `mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && find "/sys/fs/cgroup/bmuxd-test-$1" -depth -type d -exec rmdir {} +`;
const PING = Buffer.from([5, 0, 0, 0, 4, 2, 0, 1, 1]);
const PONG = '06000000040201020000';

/** Why this machine cannot run one. */
function whyNot(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'only root can make the namespace';
  if (!existsSync(SYSTEMD)) return 'systemd not found';
  const tried = spawnSync('unshare', [
    '-m',
    'sh',
    '-c',
    'mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup',
  ]);
  if (tried.status !== 0) return 'no cgroup2 can be mounted';
  const asUser = [
    '--reuid',
    String(USER),
    '--regid',
    String(USER),
    '--clear-groups',
    process.execPath,
    BMUXD,
    '--version',
  ];
  return spawnSync('setpriv', asUser).status !== 0 && 'another user cannot read this folder';
}

t.test(
  'install, restart under a live stream, a control that hangs, uninstall',
  { skip: whyNot() },
  async (t) => {
    const { root, program, setVersion } = await packageCopy(t);
    chmodSync(root, 0o755);
    const folder = mkdtempSync('/tmp/bmuxd-sd-');
    chmodSync(folder, 0o755);
    const [home, runtime] = [join(folder, 'home'), join(folder, 'run')];
    const own = (path: string, text?: string): void => {
      if (text === undefined) mkdirSync(path, { mode: 0o700 });
      else writeFileSync(path, text);
      chownSync(path, USER, USER);
    };
    for (const path of [home, runtime, join(runtime, 'bmux')]) own(path);
    t.teardown(() => {
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    });
    const PATH = process.env['PATH'] ?? '';
    const started = ['-m', 'bash', '-c', START, 'bash', String(USER), folder, PATH];
    const login = async () => {
      let said = '';
      const manager = spawn('unshare', started, { stdio: 'pipe' });
      manager.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
      const pid = String(manager.pid);
      const isOver = (): boolean => manager.exitCode !== null || manager.signalCode !== null;
      t.teardown(async () => {
        manager.kill('SIGTERM');
        await waitFor('the manager to end', isOver).catch(() => manager.kill('SIGKILL'));
        const remove = ['-m', 'sh', '-c', REMOVE, 'sh', pid];
        await waitFor('the cgroup to be empty', async () => (await run('unshare', remove, {})).status === 0);
      });
      await waitFor(`the manager ${said}`, () => existsSync(join(runtime, 'systemd', 'private')));
      const ids = ['--reuid', String(USER), '--regid', String(USER), '--clear-groups'];
      const logout = async (): Promise<void> => {
        manager.kill('SIGTERM');
        await waitFor('the manager to end', isOver);
      };
      return { into: ['-t', pid, '-m', 'setpriv', ...ids, 'env', '-i'], logout };
    };
    const env = [`PATH=${PATH}`, `HOME=${home}`, `XDG_RUNTIME_DIR=${runtime}`];
    let { into, logout } = await login();
    const inside = (...command: string[]): Promise<Ran> => run('nsenter', [...into, ...env, ...command], {});
    const bmuxd = (...args: string[]): Promise<Ran> => inside(process.execPath, program, ...args);
    const property = async (name: string): Promise<string> =>
      (
        await inside('systemctl', '--user', 'show', `--property=${name}`, '--value', 'bmuxd.service')
      ).stdout.trim();
    t.teardown(async () => {
      await bmuxd('stop');
      await inside('systemctl', '--user', 'stop', 'bmuxd.service');
    });
    const server = await EmbeddedServer.start({ socketPath: join(runtime, 'bmux', 'server.sock'), epoch: 4 });
    t.teardown(() => server.stop());
    chownSync(server.socketPath, USER, USER);
    own(join(home, '.config'));
    own(join(home, '.config', 'bmux'));
    own(join(home, '.config', 'bmux', 'bmux.toml'), '[connections.targets.here]\ntransport = "local"\n');

    t.match(await bmuxd('start'), { status: 0, stdout: /has started/ }, 'by hand');
    const installed = await bmuxd('install', '--now');
    t.match(
      installed,
      { status: 0, stdout: /leaves to the service[^]*installed and started\n$/ },
      installed.stderr,
    );
    accessSync(join(runtime, 'bmuxd', 'targets', 'here', 'server.sock'));
    t.match(await bmuxd('service', 'status'), {
      status: 0,
      stdout: /^state +active, pid \d+\nat login +starts$/m,
    });
    t.equal(await property('StatusText'), 'ready');
    const first = await property('MainPID');
    t.match(await bmuxd('install', '--now'), { status: 0, stdout: /^unchanged / });
    t.equal(await property('MainPID'), first, 'nothing has changed');
    t.match(await bmuxd('start'), { status: 0, stdout: /is running already/ });

    const shim = spawn('nsenter', [...into, ...env, process.execPath, SHIM, 'here'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let heard = Buffer.alloc(0);
    shim.stdout.on('data', (chunk: Buffer) => (heard = Buffer.concat([heard, chunk])));
    const ping = async (): Promise<void> => {
      heard = Buffer.alloc(0);
      shim.stdin.write(PING);
      await waitFor('the Pong', () => heard.length >= PONG.length / 2);
      t.equal(heard.toString('hex'), PONG);
    };
    await ping();
    t.equal((await inside('systemctl', '--user', 'restart', 'bmuxd.service')).status, 0);
    t.not(await property('MainPID'), first);
    await ping();
    t.equal((await inside('systemctl', '--user', 'reload', 'bmuxd.service')).status, 0);
    const killed = await property('MainPID');
    process.kill(Number(killed), 'SIGKILL');
    await waitFor('the next control', async () => ![killed, '0'].includes(await property('MainPID')));
    await waitFor('it is ready', async () => (await property('ActiveState')) === 'active');
    await ping();

    await setVersion('0.0.0-next');
    t.match((await bmuxd('status')).stdout, /0\.0\.0-next/, 'a restart is due');
    t.match(await bmuxd('restart'), { status: 0, stdout: /bmuxd has restarted: ready/ });
    t.match((await bmuxd('status', '--json')).stdout, /"version": ?"0\.0\.0-next"/);
    await ping();

    const unit = join(home, '.config', 'systemd', 'user', 'bmuxd.service');
    own(`${unit}.d`);
    own(join(`${unit}.d`, 'watchdog.conf'), '[Service]\nWatchdogSec=3\n');
    await inside('systemctl', '--user', 'daemon-reload');
    await inside('systemctl', '--user', 'restart', 'bmuxd.service');
    const hung = await property('MainPID');
    process.kill(Number(hung), 'SIGSTOP');
    await waitFor('another control', async () => ![hung, '0'].includes(await property('MainPID')));
    await waitFor('it is ready', async () => (await property('ActiveState')) === 'active');
    await ping();

    await inside('systemctl', '--user', 'stop', 'bmuxd.service');
    t.match(await bmuxd('start'), {
      status: 0,
      stdout: /has started: ready, pid \d+, log (journal|stderr)/,
    });
    t.equal(await property('ActiveState'), 'active', 'start has started the service');
    const again = Number(await property('MainPID'));
    // Without a daemon that stops them, they serve their target sockets for a while.
    const { engines } = JSON.parse((await bmuxd('status', '--json')).stdout) as Pick<Status, 'engines'>;
    t.teardown(() => {
      for (const engine of engines) if (isAlive(engine.pid)) process.kill(engine.pid, 'SIGKILL');
    });
    t.match(await bmuxd('uninstall'), { status: 0, stdout: /uninstalled/ });
    t.notOk(existsSync(unit));
    t.notOk(isAlive(again), 'control has left');
    await ping();
    t.match(await bmuxd('service', 'status'), { status: 3 });
    const over = new Promise((resolve) => shim.once('close', resolve));
    shim.stdin.end();
    await over;

    // The last logout: the system kills what is left when the manager has ended.
    t.match(await bmuxd('install', '--now'), { status: 0 });
    const last = spawn('nsenter', [...into, ...env, process.execPath, SHIM, 'here'], { stdio: 'pipe' });
    let [answered, why] = [false, ''];
    last.stdout.once('data', () => (answered = true));
    last.stderr.on('data', (chunk: Buffer) => (why += chunk.toString()));
    last.stdin.write(PING);
    await waitFor('the Pong', () => answered);
    const { engines: left } = JSON.parse((await bmuxd('status', '--json')).stdout) as Pick<Status, 'engines'>;
    t.teardown(() => {
      for (const { pid } of left) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    });
    await logout();
    // The first process of this machine may reap an engine whose control was killed some seconds after its end.
    await waitFor('the end of the engines, which nobody kills here', () =>
      left.every(({ pid }) => !isAlive(pid)),
    );
    await waitFor('the end of the stream', () =>
      why.includes('ended by bmuxd, since its service manager ends'),
    );

    for (const name of ['systemd', 'bmuxd']) rmSync(join(runtime, name), { recursive: true, force: true });
    ({ into, logout } = await login());
    await waitFor('the service of the next login', async () => (await property('ActiveState')) === 'active');
    const next = spawn('nsenter', [...into, ...env, process.execPath, SHIM, 'here'], { stdio: 'pipe' });
    const pong = once(next.stdout, 'data');
    next.stdin.write(PING);
    await pong;
    next.stdin.end();
    t.equal((await once(next, 'close'))[0], 0);

    // It exits when nobody uses it, and the sockets of systemd start it again.
    const withSockets = await bmuxd('install', '--socket', '--now');
    t.equal(withSockets.status, 0, withSockets.stderr);
    own(join(home, '.config', 'bmuxd'));
    own(join(home, '.config', 'bmuxd', 'bmuxd.toml'), 'idle_exit = 10\n');
    t.match(await bmuxd('reload'), { status: 0 });
    const unused = Number(await property('MainPID'));
    await waitFor('it exits', async () => (await property('ActiveState')) === 'inactive');
    t.notOk(isAlive(unused));
    const woken = spawn('nsenter', [...into, ...env, process.execPath, SHIM, 'here'], { stdio: 'pipe' });
    const answer = once(woken.stdout, 'data');
    woken.stdin.write(PING);
    await answer;
    await waitFor('it runs', async () => (await property('ActiveState')) === 'active');
    woken.stdin.end();
    t.equal((await once(woken, 'close'))[0], 0);
  },
);
