// Tests `bmuxd env` and `bmuxd exec`: what they print for each shell, how they fail, and that arguments and exit status of the command are kept.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { targetSocketVariables, withoutTargetSocket } from '../../daemon/api/target-socket-env.ts';
import { BMUXD, makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { onPath, run, waitFor } from '../real/index.ts';
import { targetSocketEnv, targetSocketPath, eventsOf } from './target-socket.ts';

t.setTimeout(300_000);

const NAMES = [
  'BMUX_RUNTIME_DIR',
  'BMUX_TARGET',
  'BMUX_RUNTIME_NAME',
  'BMUXD_SOCKET',
  'BMUXD_ENV_BEFORE',
] as const;
/** What this command prints when it fails: a shell that evaluates the output of `env` fails too. */
const failing = ([name]: readonly string[]): string => (name === 'env' ? 'false\n' : '');
/** A program that prints these variables as JSON. */
const SAY = `console.log(JSON.stringify(${JSON.stringify(NAMES)}.map((name) => process.env[name])))`;

t.test('env and exec', async (t) => {
  // The path contains characters that have a meaning in shells.
  const folder = await mkdtemp(join(tmpdir(), 'h '));
  // An engine that leaves may remove its socket at the same moment.
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const odd = join(folder, `it's $HOME "\\ \`x\` ü;`);
  await mkdir(odd, { mode: 0o700 });
  const bmuxd = await startBmuxd({
    config: '[connections.targets.here]\ntransport = "local"\n[connections.targets.-dash]\n',
    env: { BMUXD_RUNTIME_DIR: odd, BMUXD_SOCKET: join(odd, 'c.sock') },
  });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const before = JSON.stringify({ BMUX_RUNTIME_DIR: bmuxd.env['BMUX_RUNTIME_DIR'] });
  const expected = [join(odd, 'targets', 'here'), 'local', '', join(odd, 'c.sock'), before];

  const json = await bmuxd.bmuxd(['env', 'here', '--shell', 'json']);
  t.match(json, { status: 0, stderr: '' });
  t.same(JSON.parse(json.stdout), Object.fromEntries(NAMES.map((name, index) => [name, expected[index]])));

  for (const shell of ['bash', 'zsh', 'fish', 'sh']) {
    t.test(shell, { skip: onPath(shell) === undefined && `${shell} not found` }, async (t) => {
      const kind = shell === 'sh' ? 'bash' : shell;
      const { stdout } = await bmuxd.bmuxd(['env', 'here', '--shell', kind]);
      const evaluate = shell === 'fish' ? 'echo $PRINTED | source' : 'eval "$PRINTED"';
      const line = `${evaluate}; '${process.execPath}' -e '${SAY.replaceAll("'", `'\\''`)}'`;
      // In the C locale fish reads every byte as a character.
      const env = { ...bmuxd.env, LANG: 'C.UTF-8', BMUX_TARGET: 'other', PRINTED: stdout };
      const ran = await run(shell, ['-c', line], env);
      t.same(JSON.parse(ran.stdout || '""'), expected, ran.stderr);
    });
  }

  t.test('env --unset undoes it, and an env that fails makes a list of commands fail', async (t) => {
    const bin = `'${process.execPath}' '${BMUXD}'`;
    const say = `'${process.execPath}' -e '${SAY.replaceAll("'", `'\\''`)}'`;
    const line = `eval "$(${bin} env here)"; eval "$(${bin} env --unset)"; ${say}`;
    const { BMUXD_SOCKET: socket, ...others } = bmuxd.env;
    const set = await run('sh', ['-c', line], bmuxd.env);
    const runtimeDir = bmuxd.env['BMUX_RUNTIME_DIR'];
    t.same(JSON.parse(set.stdout || '""'), [runtimeDir, null, null, socket, null], set.stderr);
    t.same(await run('sh', ['-c', `${bin} env --unset`], others), { status: 0, stdout: '', stderr: '' });
    for (const wrong of ['no-such-target', '--no-such-option', ''])
      t.match(await run('sh', ['-c', `eval "$(${bin} env ${wrong})" && echo ran`], bmuxd.env), {
        stdout: '',
      });
  });

  t.test('a target that begins with a dash', async (t) => {
    const exec = ['exec', '--', '-dash', '--', process.execPath, '-e', 'console.log("ran")'];
    t.match(await bmuxd.bmuxd(exec), { status: 0, stdout: 'ran\n' });
    t.match(await bmuxd.bmuxd(['warm', '--', '-dash']), { status: 0 });
    t.match(await bmuxd.bmuxd(['env', '--shell', 'json', '--', '-dash']), {
      status: 0,
      stdout: /BMUX_RUNTIME_DIR/,
    });
  });

  t.test('exec: arguments, environment, ends', async (t) => {
    const exec = (...args: string[]) => bmuxd.bmuxd(['exec', 'here', '--', ...args]);
    const node = process.execPath;
    t.same(JSON.parse((await exec(node, '-e', SAY)).stdout), expected);
    const args = ['--json', '-n', '--', '--help', '', 'a b', '$x', '*'];
    const echoed = await exec(
      node,
      '-e',
      'console.log(JSON.stringify(process.argv.slice(1)))',
      '--',
      ...args,
    );
    t.same(JSON.parse(echoed.stdout), args);
    t.equal((await exec(node, '-e', 'process.exit(37)')).status, 37);
    t.equal((await exec(node, '-e', 'process.kill(process.pid, "SIGKILL")')).status, 137);
    t.equal((await exec(node, '-e', 'process.kill(process.pid, "SIGTERM")')).status, 143);
    t.match(await exec('no-such-command'), {
      status: 127,
      stderr: /^cannot run no-such-command: there is no such command\n/,
    });
    t.match(await exec(bmuxd.folder), { status: 126, stderr: /^cannot run .*EACCES/ });
  });

  t.test('a signal to exec is passed on to its command', async (t) => {
    for (const [signal, status] of [
      ['SIGTERM', 143],
      ['SIGINT', 130],
    ] as const) {
      const program = 'setInterval(() => {}, 1000); console.log("up")';
      const child = spawn(process.execPath, [BMUXD, 'exec', 'here', '--', process.execPath, '-e', program], {
        env: bmuxd.env,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      t.teardown(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      child.kill(signal);
      t.same(await once(child, 'exit'), [status, null]);
    }
  });

  t.test('a target that is not configured is refused and remembered nowhere', async (t) => {
    const ran = { status: 2, stderr: /^target 'hree' is not configured; did you mean here\?\n/ };
    for (const args of [
      ['env', 'hree'],
      ['exec', 'hree', '--', 'echo', 'ran'],
      ['warm', 'hree'],
      ['drop', 'hree'],
    ])
      t.match(await bmuxd.bmuxd(args), { ...ran, stdout: failing(args) }, args.join(' '));
    t.notOk((await readdir(join(odd, 'targets'))).includes('hree'));
    const state = join(bmuxd.env['XDG_STATE_HOME'] ?? '', 'bmuxd');
    for (const { name } of (await readdir(state, { withFileTypes: true })).filter((one) => one.isFile()))
      t.notMatch(await readFile(join(state, name), 'utf8'), /hree/, name);
    for (const args of [
      ['--', 'echo'],
      ['--', 'echo', 'ran'],
    ])
      t.match(await bmuxd.bmuxd(['exec', ...args]), {
        status: 2,
        stdout: '',
        stderr: /^bmuxd exec: a target is missing: /,
      });
  });

  t.test('wrong usage is refused', async (t) => {
    for (const args of [
      ['env'],
      ['env', 'here', '--shell', 'csh'],
      ['exec'],
      ['exec', 'here'],
      ['env', 'a', 'b'],
    ])
      t.same(
        { ...(await bmuxd.bmuxd(args)), stderr: '' },
        { status: 2, stdout: failing(args), stderr: '' },
        args.join(' '),
      );
  });

  t.test('env and exec fail when the server is gone, although its Hello is cached', async (t) => {
    await targetSocketEnv(bmuxd, 'here');
    await server.stop();
    const env = await bmuxd.bmuxd(['env', 'here']);
    t.match(env, { status: 1, stdout: 'false\n', stderr: /^bmux server is not running/ });
    const exec = await bmuxd.bmuxd(['exec', 'here', '--', process.execPath, '-e', 'console.log("ran")']);
    t.match(exec, { status: 1, stdout: '', stderr: /^bmux server is not running/ });
    t.ok(
      (await eventsOf({ socketPath: join(odd, 'c.sock') })).some(
        ({ type, code }) => type === 'stream refused' && code === 'server_not_running',
      ),
    );
  });
});

t.test('without a daemon the commands fail with exit status 3', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  for (const args of [
    ['env', '--no-start', 'here'],
    ['exec', '--no-start', 'here', '--', 'true'],
    ['events'],
  ]) {
    const ran = await run(process.execPath, [BMUXD, ...args], sandbox.env);
    const stdout = failing(args);
    t.match(ran, { status: 3, stdout, stderr: /^bmuxd is not running/ }, args.join(' '));
  }
});

t.test('variables of bmuxd env are replaced with those of before it', async (t) => {
  const base = { BMUXD_RUNTIME_DIR: '/x/d', HOME: '/h', BMUX_TARGET: 'local', BMUX_RUNTIME_NAME: '' };
  const plain = { BMUXD_RUNTIME_DIR: '/x/d', HOME: '/h' };
  t.same(withoutTargetSocket({ ...base, BMUX_RUNTIME_DIR: '/x/d/targets/prod' }), plain);
  t.same(withoutTargetSocket({ ...base, BMUX_RUNTIME_DIR: '/x/d/targets-0123abcd/prod' }), plain);
  for (const dir of ['/x/d/targets', '/x/d/other/prod', '/y/targets/prod', '/x/d/targets/prod/deep', '']) {
    const env = { ...base, BMUX_RUNTIME_DIR: dir };
    t.equal(withoutTargetSocket(env), env, dir);
  }

  const targetSocket = (name: string, env: Record<string, string>) => ({
    ...env,
    ...Object.fromEntries(
      targetSocketVariables(`/x/d/targets/${name}`, '/x/d/control.sock', withoutTargetSocket(env)),
    ),
  });
  const socket = { BMUXD_SOCKET: '/x/d/control.sock' };
  for (const own of [
    {},
    { BMUX_RUNTIME_DIR: `/it's "mine"` },
    { BMUX_RUNTIME_NAME: 'work', BMUX_TARGET: '' },
  ]) {
    const env = { ...plain, ...own };
    const inside = targetSocket('b', targetSocket('a', env));
    t.same(withoutTargetSocket(inside), { ...env, ...socket }, 'the variables of before bmuxd env');
    t.equal('BMUXD_ENV_BEFORE' in inside, Object.keys(own).length > 0);
    // BMUX_RUNTIME_DIR was reset by hand, so the saved variables of an earlier `bmuxd env` no longer count.
    const stale = { ...plain, BMUXD_ENV_BEFORE: '{"BMUX_RUNTIME_DIR":"/old"}' };
    t.same(withoutTargetSocket(targetSocket('a', { ...stale, ...own })), { ...env, ...socket });
  }
  for (const kept of ['', 'x', '[]', 'null', '{"BMUX_TARGET":1,"HOME":"/other"}'])
    t.same(
      withoutTargetSocket({ ...targetSocket('a', plain), BMUXD_ENV_BEFORE: kept }),
      { ...plain, ...socket },
      kept,
    );
});

t.test('several targets have a target socket each', async (t) => {
  const bmuxd = await startBmuxd({
    config: '[connections.targets.a]\ntransport = "local"\n[connections.targets.b]\ntransport = "local"\n',
  });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const envs = await Promise.all(['a', 'b', 'a', 'b'].map((target) => targetSocketEnv(bmuxd, target)));
  t.same(
    envs.map((env) => join(env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock')),
    ['a', 'b', 'a', 'b'].map((target) => targetSocketPath(bmuxd, target)),
    'asked for at the same time',
  );

  const otherDir = join(bmuxd.folder, 'other');
  await mkdir(otherDir);
  const other = await EmbeddedServer.start({ socketPath: join(otherDir, 'server.sock'), epoch: 4 });
  t.teardown(() => other.stop());
  const inside = await targetSocketEnv(bmuxd, 'a', { BMUX_RUNTIME_DIR: otherDir });
  const pings = (): readonly number[] => [server, other].map((at) => at.stats().requests.ping ?? 0);
  const [own = NaN, others = NaN] = pings();
  await targetSocketEnv(bmuxd, 'local', inside);
  t.same(
    pings(),
    [own, others + 1],
    'in a shell with the variables of bmuxd env, `local` is still the local server of before',
  );
  await waitFor(
    'the streams of bmuxd env to be over',
    async () => (await bmuxd.status()).streams === 0,
    5000,
  );
});
