// Tests the commands of `bmuxd` as a person or a script runs them.
import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, makeSandbox, startBmuxd, SHIM } from '../daemon/bmuxd.ts';
import { failureOf } from '../policy/failure-of.ts';
import { repositoryRoot } from '../real/index.ts';
import { run } from '../real/server.ts';

t.test('wrong usage is refused with its reason and exit status 2', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], sandbox.env);
  const rows: readonly [args: string[], text: string][] = [
    [['strt'], "bmuxd: there is no command 'strt'; did you mean "],
    [
      ['status', '--jsn'],
      'bmuxd status: there is no option --jsn; did you mean --json?\nRun `bmuxd status --help`.\n',
    ],
    [['status', '--wait', 'soon'], "bmuxd status: --wait: 'soon' is not a number of seconds"],
    [['status', '--wait'], 'bmuxd status: '],
    [['status', '--json=yes'], 'bmuxd status: '],
    [['stop', 'now'], "bmuxd stop: unexpected argument 'now'"],
    [['streams', 'kill', 'x'], 'bmuxd streams: write `bmuxd streams` or `bmuxd streams end ID`'],
    [['run', '--log-level', 'loud'], "bmuxd run: --log-level: 'loud' is none of trace, debug,"],
    [['meta', 'reed'], 'bmuxd meta: write `bmuxd meta write` or `bmuxd meta remove`'],
    [
      ['meta', 'write', '--pid', '-1'],
      "bmuxd meta: --pid takes a value, and '-1' may be an option; write --pid=-1 for the value",
    ],
    [['logs', '-n', '--json'], "bmuxd logs: -n takes a value, and '--json' may be an option"],
    [['top'], "bmuxd: there is no command 'top'; did you mean status?"],
    [['ls'], "bmuxd: there is no command 'ls'; did you mean targets?"],
    [['version'], "bmuxd: there is no command 'version'; did you mean --version?"],
    [['meta', 'write', '--pid', 'x'], 'bmuxd meta: --pid: a process id is needed'],
    [[], 'Usage: bmuxd COMMAND [OPTIONS]'],
  ];
  await Promise.all(
    rows.map(async ([args, text]) => {
      const ran = await bmuxd(...args);
      t.match(ran, { status: 2, stdout: '' }, args.join(' '));
      t.ok(ran.stderr.includes(text), ran.stderr);
    }),
  );
  t.match(await bmuxd('--help'), { status: 0, stderr: '', stdout: /^ {2}status .*\n/m });
  t.match(await bmuxd('status', '--help'), {
    status: 0,
    stdout:
      /^Usage: bmuxd status \[TARGET\]\n[^]* {2}--wait SECONDS .*\n[^]*Exit status: 0 ready or starting, 1 degraded, or the target fails, 3 not\srunning\./,
  });
  const shown = await bmuxd('help', 'status');
  t.same(shown, await bmuxd('status', '--help'));
  t.match(await bmuxd('help', 'stats'), {
    status: 2,
    stderr: /there is no command 'stats'; did you mean status/,
  });
  t.same(await bmuxd('help', 'service', 'status'), await bmuxd('help', 'service'));
  t.match(await bmuxd('help', 'trust', 'ad'), {
    status: 2,
    stderr: "bmuxd trust has no 'ad'; did you mean add?\nRun `bmuxd trust --help`.\n",
  });
  t.match(await bmuxd('-v'), { status: 2, stderr: /^bmuxd: there is no option -v/ });
  const { version } = JSON.parse(
    await readFile(new URL('../../../package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  t.same(await bmuxd('--version'), { status: 0, stdout: `bmuxd ${version}\n`, stderr: '' });
});

t.test('a Node that is too old is named', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  for (const program of [BMUXD, SHIM]) {
    const old = `Object.defineProperty(process, 'versions', { value: { node: '20.18.9' } }); require('${program}');`;
    const ran = await run(process.execPath, ['-e', old], sandbox.env);
    t.match(ran, { status: 1, stdout: '', stderr: /^bmuxd needs Node >= 20\.19, and this is v/ });
  }
  const old = "Object.defineProperty(process, 'versions', { value: { node: '20.18.9' } });";
  const from = `require('node:module').createRequire(${JSON.stringify(join(repositoryRoot(), 'package.json'))})`;
  // With this flag a Node is as 22.11, which imports modules and does not require them.
  for (const [flags, start, says] of [
    [[], old, /Error: bmuxd needs Node >= 20\.19, and this is v/],
    [
      ['--no-experimental-require-module'],
      '',
      /needs a Node that can require ES modules .*\n.*`await import\(/,
    ],
  ] as const) {
    for (const name of ['bmuxd', 'bmuxd/server-meta']) {
      const ran = await run(process.execPath, [...flags, '-e', `${start} ${from}('${name}');`], sandbox.env);
      t.match(ran, { status: 1, stdout: '', stderr: says }, name);
    }
  }
});

t.test('without a daemon commands fail with exit status 3', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], sandbox.env);
  await Promise.all(
    ['status', 'stop', 'reload', 'streams', 'targets'].map(async (name) => {
      const ran = await bmuxd(name);
      t.match(ran, { status: 3, stdout: '' }, name);
      t.match(ran.stderr, /^bmuxd is not running \(no daemon on .*\)\.\n/, name);
      t.match(ran.stderr, name === 'stop' ? /There is nothing to stop: / : /Start it: `bmuxd start`/, name);
    }),
  );
  const json = await bmuxd('status', '--json');
  t.equal(json.status, 3);
  t.match(JSON.parse(json.stdout), { schema: 1, state: 'not running', code: 'daemon_not_running' });
  const started = performance.now();
  t.equal((await bmuxd('status', '--wait', '0.5')).status, 3);
  t.ok(performance.now() - started >= 500, '--wait waits');
});

t.test('meta write and remove', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const bmuxd = (...args: string[]) => run(process.execPath, [BMUXD, ...args], sandbox.env);
  const file = join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server-meta.json');
  t.same(await bmuxd('meta', 'write', '--pid', '42', '--version', '1.2', '--executable', BMUXD), {
    status: 0,
    stdout: '',
    stderr: '',
  });
  t.match(JSON.parse(await readFile(file, 'utf8')), {
    pid: 42,
    version: '1.2',
    executable_path: BMUXD,
    build_id: /^\d+-\d+$/,
  });
  t.equal((await bmuxd('meta', 'remove')).status, 0);
  await t.rejects(readFile(file), { code: 'ENOENT' });
  t.equal((await bmuxd('meta', 'remove')).status, 0, 'removing a missing file is not an error');
});

t.test('commands with a daemon', async (t) => {
  const bmuxd = await startBmuxd({
    config: `[connections.targets.far]
transport = "tls"
host = "127.0.0.1"
port = 1
`,
    settings: 'target_unknown = "refuse"\n',
  });
  t.teardown(() => bmuxd.stop());
  await t.rejects(bmuxd.open({ target: 'far' }));

  await t.test('an unreachable server does not degrade the status', async (t) => {
    const ran = await bmuxd.bmuxd(['status', '--wait', '20']);
    t.equal(ran.status, 0);
    t.match(
      ran.stdout,
      new RegExp(`^bmuxd \\S+: ready  pid ${String(bmuxd.pid)}, up \\d+ s, 0 live streams\nsocket `),
    );
    t.match(ran.stdout, /^far +tls +.*tls_unreachable/m);
    const json = JSON.parse((await bmuxd.bmuxd(['status', '--json', '--wait', '20'])).stdout) as unknown;
    t.match(json, { schema: 1, pid: bmuxd.pid, state: 'ready' });
    const started = performance.now();
    await bmuxd.http('GET', '/v1/status');
    t.ok(performance.now() - started < 5000);
  });

  await t.test('the setting target_unknown refuses streams to targets that are not configured', async (t) => {
    t.match(await failureOf(() => bmuxd.open({ target: 'fra' })), {
      code: 'target_unknown',
      detail: "target 'fra' is not configured; did you mean far?",
    });
    t.match(await failureOf(() => bmuxd.open({ target: 'fra', unknownTarget: 'local' })), {
      code: 'server_not_running',
      warnings: ["target 'fra' is not configured: connecting to the local server"],
    });
  });

  await t.test('no target socket is made for a target that is not configured', async (t) => {
    const header = { 'bmux-request': '{"target":"fra","unknownTarget":"local"}' };
    t.match(await bmuxd.http('POST', '/v1/target-sockets', header), {
      status: 404,
      body: { code: 'target_unknown' },
    });
    t.match(await bmuxd.http('POST', '/v1/drop', header), { status: 404, body: { code: 'target_unknown' } });
  });

  await t.test('lists', async (t) => {
    t.same(await bmuxd.bmuxd(['streams']), { status: 0, stdout: 'no streams\n', stderr: '' });
    t.match(await bmuxd.bmuxd(['streams', 'end', 'x-1']), { status: 1, stderr: /^no stream x-1\n/ });
    const targets = await bmuxd.bmuxd(['targets']);
    t.match(
      targets.stdout,
      /^ {2}NAME +TRANSPORT +ADDRESS\n\* local +local +local:.*\n {2}far +tls +tls:127\.0\.0\.1:1\n$/,
    );
  });

  await t.test('a reader that closes the pipe early does not crash the command', async (t) => {
    const child = spawn(process.execPath, [BMUXD, 'status', '--json', '--wait', '20'], {
      env: bmuxd.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    t.equal(await new Promise((resolve) => child.once('close', resolve)), 0);
    t.equal(stderr, '');
  });

  await t.test('a socket whose path the system would cut is named in the error', async (t) => {
    const ran = await bmuxd.bmuxd(['status'], { BMUXD_SOCKET: `/tmp/${'x'.repeat(120)}` });
    t.match(ran, { status: 1, stderr: /^the socket path \/tmp\/x+ is 125 bytes long; the system takes/ });
  });

  await t.test(
    'a socket without permission is named in the error',
    { skip: process.getuid?.() === 0 && 'root has all permissions' },
    async (t) => {
      const folder = join(bmuxd.folder, 'locked');
      await mkdir(folder, { mode: 0o000 });
      const ran = await bmuxd.bmuxd(['status'], { BMUXD_SOCKET: join(folder, 'control.sock') });
      t.match(ran, { status: 1, stderr: /^permission denied on the control socket/ });
    },
  );
});
