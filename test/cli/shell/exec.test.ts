// Tests `bmuxd exec` as a shell starts it: it becomes its command, which keeps all that Node would change.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { startFar } from '../../../bench/rig/far.ts';
import { packageVersion } from '../../../daemon/base/version.ts';
import { droppedIn, shellProgram } from '../../../daemon/cli/shell/replace.ts';
import { BMUXD, startBmuxd } from '../../daemon/bmuxd.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { run } from '../../real/index.ts';
import { waitFor } from '../../real/child.ts';

t.setTimeout(300_000);

/** Whether a descriptor of a process is blocking. */
function isBlocking(pid: number | undefined, fd: number): boolean {
  const info = readFileSync(`/proc/${String(pid)}/fdinfo/${String(fd)}`, 'utf8');
  const [, flags = ''] = /flags:\s*(\d+)/.exec(info) ?? [];
  return (Number.parseInt(flags, 8) & 0o4000) === 0;
}

t.test('bmuxd exec becomes its command', async (t) => {
  const bmuxd = await startBmuxd({ config: '[connections.targets.here]\ntransport = "local"\n' });
  t.teardown(() => bmuxd.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const PATH = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
  const env = { ...bmuxd.env, PATH, BMUXD };
  /** What `script` prints. In it, `$BMUXD` is the program. */
  const shell = async (script: string, more = {}): Promise<string> => {
    const ran = await run('/bin/sh', ['-c', script], { ...env, ...more });
    return `${ran.stdout}${ran.stderr}`;
  };

  await Promise.all([
    t.test('its process, exit status and signals', async (t) => {
      const exec = (...args: string[]) =>
        spawn(BMUXD, ['exec', 'here', '--', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      const child = exec('sh', '-c', 'echo $$; exec sleep 60');
      t.teardown(() => child.kill('SIGKILL'));
      t.equal(String(await once(child.stdout, 'data')).trim(), String(child.pid));
      child.kill('SIGTERM');
      t.same(await once(child, 'exit'), [null, 'SIGTERM']);
      t.same(await once(exec('sh', '-c', 'exit 37'), 'exit'), [37, null]);
    }),
    t.test('limits, ignored signals, descriptors', async (t) => {
      t.equal(await shell('ulimit -n 93; "$BMUXD" exec here -- sh -c "ulimit -n"'), '93\n');
      const ignored = `"$BMUXD" exec here -- sh -c 'kill -HUP $$; echo alive'`;
      t.equal(await shell(`trap '' HUP; ${ignored}`), 'alive\n');
      t.equal(
        await shell(`echo text > "$F"; "$BMUXD" exec here -- sh -c 'cat <&3' 3< "$F"`, {
          F: join(bmuxd.folder, 'file'),
        }),
        'text\n',
      );
    }),
    t.test('arguments and variables that are not UTF-8, and names that a shell does not have', async (t) => {
      const bytes = `A=$(printf 'a\\377') "$BMUXD" exec here -- sh -c 'printf %s "$A$1" | od -An -tx1' x "$(printf 'b\\376')"`;
      // A whole line is an assignment before a command, so the variable is exported first.
      t.equal((await shell(bytes.replace(' "$BMUXD"', '; export A; "$BMUXD"'))).trim(), '61 ff 62 fe');
      if (process.platform !== 'linux') return;
      const kept = await shell('exec env "x.y=it\'s" "$BMUXD" exec here -- env');
      t.match(kept, /^x\.y=it's$/m);
      t.match(kept, /^BMUX_TARGET=local$/m);
    }),
    t.test('what cannot be run, help, wrong usage', async (t) => {
      const exec = (...args: string[]) => run(BMUXD, ['exec', ...args], env);
      t.match(await exec('here', '--', 'no-such-command'), {
        status: 127,
        stderr: /^cannot run no-such-command: there is no such command\n/,
      });
      t.match(await exec('here', '--', bmuxd.folder), { status: 126, stderr: /^cannot run .*EACCES/ });
      t.match(await exec('--help'), { status: 0, stdout: /^Usage: bmuxd exec TARGET/ });
      t.match(await exec('here'), { status: 2, stdout: '', stderr: /COMMAND/ });
      t.match(await exec('here', '--', 'printf', '%s|', '', "it's", '--', '-n', '*'), {
        status: 0,
        stdout: "|it's|--|-n|*|",
      });
    }),
  ]);

  await t.test('it ends with a shell that is killed while it waits', async (t) => {
    const silent = createServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1');
    t.teardown(() => silent.close());
    await once(silent, 'listening');
    const address = silent.address();
    const target = `tls://127.0.0.1:${String(typeof address === 'object' ? address?.port : '')}`;
    const child = spawn(BMUXD, ['exec', target, '--', 'true'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    await once(silent, 'connection');
    child.kill('SIGKILL');
    // Closed by the last process that has it. The failure of the target would be told there.
    t.equal(await text(child.stderr), '');
  });
  await t.test(
    'a shared pipe stays blocking',
    { skip: process.platform !== 'linux' && 'Linux shows flags' },
    async (t) => {
      const child = spawn(BMUXD, ['events'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      t.teardown(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      for (const fd of [1, 2]) t.equal(isBlocking(child.pid, fd), true, `descriptor ${String(fd)}`);
      // The daemon writes to its pipe without waiting. Node would make a socket of it, so a shell starts it.
      const wait = 'until "$BMUXD" status --wait 60 >/dev/null 2>&1; do :; done';
      const script = `{ "$BMUXD" run & ${wait}; grep flags /proc/$!/fdinfo/1 /proc/$!/fdinfo/2; "$BMUXD" stop; wait; } 2>&1 | cat`;
      const shown = await shell(script, { BMUXD_RUNTIME_DIR: join(bmuxd.folder, 'piped') });
      t.same(
        shown.match(/(?<=flags:\s+)\d+/g)?.map((flags) => Number.parseInt(flags, 8) & 0o4000),
        [0, 0],
        'descriptors 1 and 2 of the daemon',
      );
      t.match(shown, /bmuxd is up/);
    },
  );
});

t.test(
  'bmuxd exec and env without Node, where the shell knows the target',
  { skip: process.platform !== 'linux' && 'elsewhere Node looks' },
  async (t) => {
    const far = await startFar({ way: 'TLS plain', embedded: true });
    t.teardown(() => far.stop());
    const bmuxd = await startBmuxd({
      config: far.config.replace('targets.far]', 'targets.here]'),
      env: far.env,
    });
    t.teardown(() => bmuxd.stop());
    const PATH = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
    const env = { ...bmuxd.env, PATH, BMUXD };
    const bin = join(bmuxd.folder, 'no-node');
    await mkdir(bin);
    await writeFile(join(bin, 'node'), '#!/bin/sh\necho node >&2\nexit 9\n', { mode: 0o755 });
    const quick = { ...env, PATH: `${bin}:${PATH}` };
    const asks = async (args: readonly string[], more = {}): Promise<boolean> => {
      const { status, stderr } = await run(BMUXD, args, { ...quick, ...more });
      return status === 9 && stderr === 'node\n';
    };
    t.match(await run(BMUXD, ['--version'], quick), { status: 0, stdout: `bmuxd ${packageVersion()}\n` });
    const command = ['exec', 'here', '--', 'printf', '%s|', 'a b', "it's", '*'];

    await bmuxd.bmuxd(['warm', 'here']);
    await waitFor('the shell knows the target', async () => !(await asks(command)));
    t.match(await run(BMUXD, command, quick), { status: 0, stdout: "a b|it's|*|", stderr: '' });
    const { stdout } = await run(process.execPath, [BMUXD, 'env', 'here'], env);
    t.match(await run(BMUXD, ['env', 'here'], quick), { status: 0, stdout }, 'as Node finds out');
    const set = `${['RUNTIME_DIR', 'TARGET', 'RUNTIME_NAME'].map((name) => `"$BMUX_${name}"`).join(' ')} "$BMUXD_SOCKET" "$BMUXD_ENV_BEFORE"`;
    const told = await run('/bin/sh', ['-c', `eval "$("$BMUXD" env here)"; printf '%s|' ${set}`], quick);
    t.match(await run(BMUXD, ['exec', 'here', '--', 'sh', '-c', `printf '%s|' ${set}`], quick), told);

    const others: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>?])[] = [
      ['another target', ['exec', 'there', '--', 'true']],
      ['an option', ['exec', '--no-start', 'here', '--', 'true']],
      ['a missing command', ['exec', 'here', '--', 'no-such-command']],
      ['a folder', ['exec', 'here', '--', bmuxd.folder]],
      ['a variable that a shell does not pass on', ['exec', 'here', '--', 'true'], { 'x.y': '1' }],
      ['another context', ['exec', 'here', '--', 'true'], { BMUX_STATE_DIR: bmuxd.folder }],
      ['another daemon', ['exec', 'here', '--', 'true'], { BMUXD_SOCKET: join(bmuxd.folder, 's') }],
      ['a value that is to be quoted', ['exec', 'here', '--', 'true'], { BMUX_TARGET: 'a"b' }],
      ['another shell', ['env', 'here', '--shell', 'fish']],
    ];
    for (const [what, args, more] of others) t.ok(await asks(args, more), what);
    await bmuxd.killControl();
    t.ok(await asks(command), 'a daemon that is gone');
  },
);

t.test('bmuxd env without a Node that can run it prints what makes eval fail', async (t) => {
  const bin = await mkdtemp(join(tmpdir(), 'bmuxd-old-'));
  t.teardown(() => rm(bin, { recursive: true }));
  const ask = 'eval "$("$BMUXD" env here)" && echo went on';
  const env = { BMUXD, PATH: `${bin}:/usr/bin:/bin` };
  await writeFile(join(bin, 'node'), '#!/bin/sh\necho too old >&2\nexit 1\n', { mode: 0o755 });
  t.match(await run('/bin/sh', ['-c', ask], env), { status: 1, stdout: '', stderr: 'too old\n' });
  await rm(join(bin, 'node'));
  t.match(await run('/bin/sh', ['-c', ask], { ...env, PATH: bin }), { status: 1, stdout: '' });
});

t.test('the program for the shell', (t) => {
  const variables = [['A', "it's"]] as const;
  const program = (command: string, dropped: readonly (readonly [string, string])[] = []): string =>
    shellProgram({ command, words: 2, variables, dropped });
  t.equal(program('cmd'), `shift $(($# - 2))\nexport A='it'\\''s'\nexec "$@"\n`);
  t.match(program('-cmd'), /exec -- "\$@"/, 'a name with a dash is no option');
  t.match(program('cmd', [['a.b', '1']]), /exec env 'a\.b=1' "\$@"/);
  t.match(program('a=b', [['a.b', '1']]), /exec "\$@"/, 'env would take the command for a variable');
  t.same(droppedIn('A=1\0a.b=2\n3\0BASH_FUNC_f%%=() { :; }\0=x\0c-d=\ufffd\0'), [
    ['a.b', '2\n3'],
    ['BASH_FUNC_f%%', '() { :; }'],
  ]);
  t.end();
});
