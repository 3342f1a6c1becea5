// Tests what `bmuxd install` writes, and what the daemon tells a service manager.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { agentFiles, unitFiles } from '../../daemon/cli/service/install/files.ts';
import { lastingPath } from '../../daemon/cli/service/install/lasting-path.ts';
import { unitCommand, unitVariable } from '../../daemon/cli/service/install/quoting.ts';
import { ask } from '../../daemon/cli/service/install/manager.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { ServiceManager, wantedBy } from '../../daemon/control/service/service-manager.ts';
import { BMUXD, makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { FakeClock } from '../base/async/fake-clock.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { isAlive, waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';
import { parsePlist } from './plist.ts';

t.test('paths are taken literally by systemd and launchd', async (t) => {
  t.equal(unitCommand(['/usr/bin/node', '-x=1', '/a/b.cjs', 'run']), '/usr/bin/node -x=1 /a/b.cjs run');
  t.equal(unitCommand(['/a b$/n%n', '/c "d"\\', '$HOME']), '"/a b$/n%%n" "/c \\"d\\"\\\\" "$$HOME"');
  t.equal(unitVariable('X', 'a b%'), '"X=a b%%"');
  t.equal(unitCommand(['/a\nb\\n', 'run']), '"/a\\nb\\\\n" run');
  const options = {
    env: { HOME: '/h & <h>', BMUXD_CONFIG: '/c & d' },
    node: '/n & o/node',
    program: '/p <q>/bmuxd.cjs',
    sockets: true,
  };
  const [agent] = agentFiles(options);
  t.match(parsePlist(agent?.content ?? ''), {
    ProgramArguments: ['/n &amp; o/node', '--max-semi-space-size=2', '/p &lt;q&gt;/bmuxd.cjs', 'run'],
    EnvironmentVariables: { HOME: '/h &amp; &lt;h&gt;', BMUXD_CONFIG: '/c &amp; d' },
  });
  const units = unitFiles({ ...options, env: { HOME: '/h', BMUXD_RUNTIME_DIR: '/r %u' } });
  t.match(units[0]?.content, '\nEnvironment="BMUXD_RUNTIME_DIR=/r %%u"\n');
  t.match(units[1]?.content, '\nListenStream=/r %%u/control.sock\n');
  t.match(units[2]?.content, '\nListenStream=/r %%u/streams.sock\n');
  for (const { content } of [...units, ...unitFiles({ ...options, env: { HOME: '/h' } })])
    t.notMatch(content, /@[A-Z]+@/);
});

t.test(
  'systemd reads back the paths that were written',
  { skip: spawnSync('systemd-analyze', ['--version']).status !== 0 && 'systemd-analyze not found' },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-q-'));
    t.teardown(() => rm(folder, { recursive: true }));
    const odd = join(folder, 'a b%h$c&d');
    await mkdir(odd);
    await writeFile(join(odd, 'node'), '', { mode: 0o755 });
    const [unit] = unitFiles({
      env: { HOME: folder },
      node: join(odd, 'node'),
      program: join(odd, 'p\nq'),
      sockets: false,
    });
    const path = join(folder, 'bmuxd.service');
    const verify = (text: string) => {
      const env = { PATH: process.env['PATH'], HOME: folder, XDG_RUNTIME_DIR: folder };
      return writeFile(path, text).then(() =>
        spawnSync('systemd-analyze', ['verify', '--user', path], { env, encoding: 'utf8', timeout: 60_000 }),
      );
    };
    t.equal((await verify(unit?.content ?? '')).stderr, '');
    t.throws(() => unitFiles({ env: { HOME: folder }, node: '/a"b', program: '/p', sockets: false }), {
      code: 'service_unsupported',
    });
    const wrong = (unit?.content ?? '').replaceAll('%%h', '%h');
    t.match((await verify(wrong)).stderr, /not executable/, 'a path that is not there is noticed');
  },
);

t.test('paths that vanish are told apart', async (t) => {
  const rows: readonly [path: string, why: RegExp | undefined][] = [
    ['/usr/bin/node', undefined],
    ['/usr/local/lib/node_modules/bmuxd/dist/daemon/bin/bmuxd.cjs', undefined],
    ['/home/u/.volta/tools/image/packages/bmuxd/lib/node_modules/bmuxd/x.cjs', undefined],
    ['/run/user/1/fnm_multishells/12_34/bin/node', /with the shell/],
    ['/home/u/.local/share/fnm/node-versions/v22.1.0/installation/bin/node', /fnm/],
    ['/home/u/.nvm/versions/node/v22.1.0/bin/node', /nvm/],
    ['/home/u/.volta/tools/image/node/22.1.0/bin/node', /volta/],
    ['/home/u/.asdf/installs/nodejs/22.1.0/bin/node', /asdf/],
    ['/home/u/.asdf/shims/node', /asdf/],
    ['/home/u/.local/share/mise/installs/node/22.1.0/bin/node', /mise/],
    ['/opt/homebrew/Cellar/node/22.1.0/bin/node', /Homebrew/],
    ['/snap/node/123/bin/node', /snap/],
    ['/nix/store/abc-node/bin/node', /Nix/],
    ['/home/u/.npm/_npx/123/node_modules/bmuxd/x.cjs', /cache/],
    ['/home/u/.local/share/pnpm/global/5/.pnpm/bmuxd@0.1.0/node_modules/bmuxd/dist/x.cjs', /pnpm/],
    ['/tmp/x/node', /temporary/],
    ['/home/u/.fnm/node-versions/v22.1.0/installation/bin/node', /fnm/],
    ['/home/u/.local/share/asdf/installs/nodejs/22.1.0/bin/node', /asdf/],
    ['/home/u/.local/share/volta/tools/image/node/22.1.0/bin/node', /volta/],
    ['/home/u/.nodenv/versions/22.1.0/bin/node', /of one version/],
    ['/home/u/.nvs/node/22.1.0/x64/bin/node', /of one version/],
    ['/home/u/.local/share/pnpm/nodejs/22.1.0/bin/node', /of one version/],
    ['/home/u/.proto/tools/node/22.1.0/bin/node', /of one version/],
    ['/usr/local/lib/nodejs/node-v22.1.0-linux-x64/bin/node', /of one version/],
    ['/home/u/.local/share/mise/installs/npm-bmuxd/0.1.0/lib/node_modules/bmuxd/x.cjs', /of one version/],
    ['/home/u/node-22/bin/node', undefined],
  ];
  for (const [path, why] of rows)
    t.match(lastingPath(path), why === undefined ? { path, why } : { path, why }, path);
  const folder = await mkdtemp(join(process.cwd(), '.lasting-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const [cellar, opt] = [join(folder, 'Cellar', 'node', '1.2'), join(folder, 'opt')];
  await mkdir(join(cellar, 'bin'), { recursive: true });
  await mkdir(opt);
  await writeFile(join(cellar, 'bin', 'node'), '');
  await symlink(cellar, join(opt, 'node'));
  const found = lastingPath(join(cellar, 'bin', 'node'));
  if (!folder.startsWith('/tmp/')) t.same(found, { path: join(opt, 'node', 'bin', 'node') });
});

t.test(
  'a dry run shows all and changes nothing',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const sandbox = await makeSandbox();
    const { env, folder } = sandbox;
    t.teardown(() => sandbox.remove());
    const ran = await run(
      process.execPath,
      [BMUXD, 'install', '--dry-run', '--socket', '--now', '--stable-node'],
      env,
    );
    t.match(ran, {
      status: 0,
      stdout: /^write .*bmuxd\.service\n[^]*run systemctl --user restart bmuxd\.service\n$/m,
    });
    await t.rejects(readFile(join(folder, 'home', '.config', 'systemd', 'user', 'bmuxd.service')));
    t.match(await run(process.execPath, [BMUXD, 'service', 'status'], env), { status: 3 });
    t.match(await run(process.execPath, [BMUXD, 'uninstall'], env), { status: 0, stdout: /no service/ });
  },
);

t.test(
  'links for the service are made, kept, led elsewhere, and removed',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    // A service manager that does all.
    const bin = join(sandbox.folder, 'bin');
    await mkdir(bin);
    for (const name of ['systemctl', 'loginctl'])
      await writeFile(join(bin, name), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    const env = { ...sandbox.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], env);
    const link = join(sandbox.folder, 'home', '.local', 'share', 'bmuxd', 'node');
    const install = ['install', '--now', '--stable-node'];
    t.match(await bmuxd(...install), { status: 0, stdout: /^link .*\/node -> / });
    t.equal(await readlink(link), process.execPath);
    const again = await bmuxd(...install);
    t.match(again, { status: 0, stdout: /^unchanged link .*\nunchanged link .*\nunchanged \// });
    t.match(again.stdout, /^run systemctl --user start bmuxd\.service$/m, 'not restarted');
    // As after the installation of another Node.
    await rm(link);
    await symlink('/none/node', link);
    t.match(await bmuxd('service', 'status'), { status: 1, stdout: /node is gone: run/ });
    const renewed = await bmuxd(...install);
    t.match(renewed, { status: 0, stdout: /^link .*\/node -> .*\nunchanged link .*\nunchanged \// });
    t.match(renewed.stdout, /^run systemctl --user restart bmuxd\.service$/m, 'it runs the former Node');
    t.equal(await readlink(link), process.execPath);
    t.match(await bmuxd('uninstall'), { status: 0, stdout: /^remove .*\/node$/m });
    await t.rejects(readlink(link), 'nothing is left');
  },
);

t.test(
  'a file of the service that cannot be written is named',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const [bin, home] = [join(sandbox.folder, 'bin'), join(sandbox.folder, 'home')];
    for (const folder of [bin, join(home, '.config'), join(home, '.local')])
      await mkdir(folder, { recursive: true });
    await writeFile(join(bin, 'systemctl'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    const env = { ...sandbox.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    for (const [inTheWay, ...options] of [['.local/share', '--stable-node'], ['.config/systemd']] as const) {
      const path = join(home, inTheWay);
      await writeFile(path, '');
      const ran = await run(process.execPath, [BMUXD, 'install', ...options], env);
      t.match(ran, { status: 1, stderr: /\[service_file_unwritable\]\n$/ });
      t.match(ran.stderr, `${path}/`);
    }
  },
);

t.test(
  'where the service manager fails, the daemon of now goes on',
  { skip: process.platform !== 'linux' && 'Linux only' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const daemon = await startBmuxd({ sandbox });
    t.teardown(() => daemon.stop());
    const bin = join(sandbox.folder, 'bin');
    await mkdir(bin);
    const env = { ...sandbox.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    const unit = join(sandbox.folder, 'home', '.config', 'systemd', 'user', 'bmuxd.service');
    for (const [fails, isWritten] of [
      ['show', false],
      ['enable', true],
    ] as const) {
      const text = `#!/bin/sh\n[ "$2" != ${fails} ] || { echo "Failed to connect to bus" >&2; exit 1; }\n`;
      await writeFile(join(bin, 'systemctl'), text, { mode: 0o755 });
      const ran = await run(process.execPath, [BMUXD, 'install', '--now'], env);
      t.match(ran, { status: 1, stderr: /Failed to connect to bus[^]*\[service_manager_failed\]\n$/ });
      t.equal(existsSync(unit), isWritten, 'without a manager nothing is written');
      t.match(await daemon.http('GET', '/v1/health'), { status: 200, body: { state: 'ready' } });
    }
  },
);

t.test('the manager hears of each step, and of a working control only', async (t) => {
  const sent: string[] = [];
  const clock = new FakeClock();
  let answers = true;
  let state = 'ready';
  const manager = new ServiceManager({
    notify: (assignments) => sent.push(assignments.join(' ')),
    watchdogMs: 3000,
    listens: false,
    clock,
    isEnding: () => Promise.resolve(false),
  });
  const next = async (ms = 0): Promise<string[]> => {
    await clock.advance(ms);
    await new Promise(setImmediate);
    return sent.splice(0);
  };
  t.same(await next(5000), [], 'nothing before it is ready');
  manager.ready({ isAnswering: async () => answers, state: () => state });
  t.same(await next(), ['READY=1 STATUS=ready']);
  t.same(await next(1000), ['WATCHDOG=1']);
  state = 'degraded: x';
  t.same(await next(1000), ['WATCHDOG=1 STATUS=degraded: x']);
  answers = false;
  t.same(await next(1000), []);
  answers = true;
  await manager.reloading(async () => {
    t.match(await next(), [/^RELOADING=1 MONOTONIC_USEC=\d+ STATUS=reloading$/]);
  });
  t.same(await next(), ['READY=1 STATUS=degraded: x']);
  manager.stopping();
  manager.stopping();
  t.same(await next(5000), ['STOPPING=1 STATUS=stopping']);
});

t.test('what the manager has given to another process is not used', async (t) => {
  const given = { NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '7' };
  t.same(wantedBy(given, 7), { socket: '/run/x', watchdogMs: 3000 });
  t.same(wantedBy(given, 8), { socket: '/run/x', watchdogMs: undefined });
  t.same(wantedBy({ NOTIFY_SOCKET: 'x', WATCHDOG_USEC: '-1' }, 7), {
    socket: undefined,
    watchdogMs: undefined,
  });
});

t.test('a service manager that does not answer is ended and named', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-hung-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'pid');
  const timers = holdTimers(t);
  const asked = ask({ ...process.env, FILE: file }, ['sh', '-c', 'echo $$ > "$FILE"; exec sleep 600']);
  const failed = t.rejects(asked, {
    code: 'service_manager_failed',
    message: /sleep 600.*no answer/,
  });
  await timers.until('the program to run', () => existsSync(file) && readFileSync(file, 'utf8') !== '');
  const pid = Number(readFileSync(file, 'utf8'));
  await timers.pass(LIMITS.serviceManagerMs - 1);
  t.equal(isAlive(pid), true);
  await timers.pass(1);
  await failed;
  timers.release();
  await waitFor('its end', () => !isAlive(pid));
});
