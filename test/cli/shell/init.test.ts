// Tests the `bmux` of `bmuxd shell-init`: what it runs in each shell, and that the real bmux goes through the target socket with it.
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { THROUGH, THROUGH_WITH, UNTOUCHED } from '../../../daemon/cli/shell/bmux-commands.ts';
import { shellFileText, shellKey } from '../../../daemon/request/shell-file.ts';
import { BMUXD, startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { onPath, realBmux, run, startServer, startTlsGateway, waitFor } from '../../real/index.ts';
import { existsSync, readFileSync } from 'node:fs';

t.setTimeout(300_000);

/** Prints its name, its runtime dir, its target, and its arguments. */
const FAKE = `#!/bin/sh
printf '%s' "$(basename "$0") \${BMUX_RUNTIME_DIR##*/} \${BMUX_TARGET-unset}:"
for word do printf ' <%s>' "$word"; done
echo`;

interface Shells {
  readonly env: Readonly<Record<string, string>>;
  /** The shells that are here, with what runs lines in each after shell-init. */
  readonly all: readonly {
    readonly name: string;
    readonly run: (lines: string, more?: Env, flags?: readonly string[]) => Promise<string>;
  }[];
}
type Env = Readonly<Record<string, string>>;

/** Makes the programs for the shells: bmux is a fake unless `bmux` names one. */
async function shells(bmuxd: Bmuxd, bmux?: string): Promise<Shells> {
  const bin = join(bmuxd.folder, 'bin');
  const script = join(bmuxd.folder, 'script');
  await Promise.all([bin, script].map((folder) => mkdir(folder)));
  if (bmux === undefined) {
    for (const name of ['bmux', 'bmuxd']) await writeFile(join(bin, name), FAKE, { mode: 0o755 });
  } else {
    await symlink(bmux, join(bin, 'bmux'));
    await symlink(BMUXD, join(bin, 'bmuxd'));
  }
  await writeFile(join(script, 'bmux'), (await bmuxd.bmuxd(['shell-init', 'sh'])).stdout);
  await chmod(join(script, 'bmux'), 0o755);
  const path = `${bin}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
  const env = { ...bmuxd.env, PATH: path };
  const functions = ['bash', 'zsh', 'fish'].filter((name) => onPath(name) !== undefined);
  const scripts = ['sh', 'dash'].filter((name) => onPath(name) !== undefined);
  return {
    env,
    all: [
      ...(await Promise.all(
        functions.map(async (name) => {
          const init = (await bmuxd.bmuxd(['shell-init', name])).stdout;
          const file = join(bmuxd.folder, `init.${name}`);
          await writeFile(file, init);
          return {
            name,
            run: async (lines: string, more: Env = {}, flags: readonly string[] = []) => {
              const ran = await run(name, [...flags, '-c', `. ${file}\n${lines}`], { ...env, ...more });
              return `${ran.stdout}${ran.stderr}`;
            },
          };
        }),
      )),
      ...scripts.map((name) => ({
        name,
        run: async (lines: string, more: Env = {}) => {
          const ran = await run(name, ['-c', lines], { ...env, PATH: `${script}:${path}`, ...more });
          return `${ran.stdout}${ran.stderr}`;
        },
      })),
    ],
  };
}

/** Each line, and how bmux or bmuxd is called. T: through the target socket of prod; R: untouched. */
const CALLS: readonly (readonly [line: string, called: string])[] = [
  ['bmux list-sessions', 'R <list-sessions>'],
  ['bmux --target prod list-sessions', 'T <list-sessions>'],
  ["bmux attach --target=prod 'a b' ''", 'T <attach> <a b> <>'],
  ['bmux list-sessions --json --target prod -- --target x', 'T <list-sessions> <--json> <--> <--target> <x>'],
  ['bmux --log-level debug --target prod server status', 'T <--log-level> <debug> <server> <status>'],
  ['bmux --target prod', 'T'],
  ['bmux --target prod server stop', 'R <--target> <prod> <server> <stop>'],
  ['bmux --target prod remote test prod', 'R <--target> <prod> <remote> <test> <prod>'],
  ['bmux connect prod', 'R <connect> <prod>'],
  ['bmux --target prod ls', 'R <--target> <prod> <ls>'],
  ['bmux --target prod attach --help', 'R <--target> <prod> <attach> <--help>'],
  ['bmux --runtime x --target prod attach', 'R <--runtime> <x> <--target> <prod> <attach>'],
  ['bmux --target prod --target prod attach', 'R <--target> <prod> <--target> <prod> <attach>'],
  ['bmux attach --target', 'R <attach> <--target>'],
  ['bmux --target here list-sessions', 'R <--target> <here> <list-sessions>'],
  ['bmux --target user@host list-sessions', 'R <--target> <user@host> <list-sessions>'],
  ['bmux --target local list-sessions', 'R <--target> <local> <list-sessions>'],
  ['bmux --target tls://h:1 attach', 'E <exec> <--if-remote> <--> <tls://h:1> <--> <bmux> <attach>'],
];

t.test('what each shell runs', async (t) => {
  const tls = '[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n';
  const config = `${tls}[connections.targets.here]\ntransport = "local"\n`;
  const bmuxd = await startBmuxd({ config });
  t.teardown(() => bmuxd.stop());
  const { all } = await shells(bmuxd);
  const file = join(bmuxd.folder, 'd', 'targets', '.shell');
  const runtime = (bmuxd.env['BMUX_RUNTIME_DIR'] ?? '').split('/').at(-1) ?? '';
  const expected = (called: string, target = 'unset'): string =>
    called
      .replace(/^T/, 'bmux prod local:')
      .replace(/^R/, `bmux ${runtime} ${target}:`)
      .replace(/^E/, `bmuxd ${runtime} ${target}:`);
  /** The script calls bmux by its path. */
  const plain = (said: string): string => said.replace(/<\/[^>]*\/bmux>/g, '<bmux>');
  await waitFor('the file for shells', () => Promise.resolve(existsSync(file)));

  const bash = all.find(({ name }) => name === 'bash');
  if (bash !== undefined) {
    const lines = 'shopt -s failglob; bmux --target prod attach; shopt -q failglob && echo kept';
    t.equal(
      await bash.run(lines, { BMUXD_RUNTIME_DIR: join(bmuxd.folder, 'none') }),
      `bmuxd ${runtime} unset: <exec> <--if-remote> <--> <prod> <--> <bmux> <attach>\nkept\n`,
      'no daemon has run, and bash refuses a pattern without a file',
    );
  }
  for (const { name, run } of all) {
    await t.test(name, async (t) => {
      const said = plain(await run(CALLS.map(([line]) => line).join('\n')));
      t.equal(said, `${CALLS.map(([, called]) => expected(called)).join('\n')}\n`);
      const others = ['bmux attach', 'bmux --target here attach', 'bmux connect'].join('\n');
      t.equal(
        plain(await run(others, { BMUX_TARGET: 'prod' })),
        [
          'bmux prod local: <attach>',
          `bmux ${runtime} prod: <--target> <here> <attach>`,
          `bmux ${runtime} prod: <connect>\n`,
        ].join('\n'),
      );
      t.equal(
        plain(await run('bmux --target prod attach', { SSH_AUTH_SOCK: '/another' })),
        `bmuxd ${runtime} unset: <exec> <--if-remote> <--> <prod> <--> <bmux> <attach>\n`,
        'a caller that the daemon does not know',
      );
      if (['sh', 'dash'].includes(name)) return;
      const real = `bmux ${runtime} unset: <--target> <prod> <attach>\n`;
      t.equal(await run('command bmux --target prod attach'), real);
      // In fish, `\\b` is another character.
      if (name === 'fish') return;
      const typed = await run(`eval 'bmux --target prod attach'\neval '\\bmux --target prod attach'`, {}, [
        '-i',
      ]);
      t.match(
        typed.split('\n').slice(0, 2).join('\n'),
        `bmux prod local: <attach>\n${real}`.trim(),
        'as a person types it',
      );
    });
  }

  await bmuxd.configure('bmux.toml', `[connections]\ndefault_target = "prod"\n${config}`);
  await waitFor('the default target', () =>
    Promise.resolve(readFileSync(file, 'utf8').includes('\nDprod\n')),
  );
  for (const { name, run } of all)
    t.equal(await run('bmux attach'), 'bmux prod local: <attach>\n', `${name}: the default target`);
});

t.test('copies of the program for PATH do not run each other', async (t) => {
  const bmuxd = await startBmuxd({ config: '' });
  t.teardown(() => bmuxd.stop());
  const text = (await bmuxd.bmuxd(['shell-init', 'sh'])).stdout;
  const folders = ['one', 'two', 'real'].map((name) => join(bmuxd.folder, name));
  for (const folder of folders) await mkdir(folder);
  for (const folder of folders.slice(0, 2)) await writeFile(join(folder, 'bmux'), text, { mode: 0o755 });
  const PATH = `${folders.join(':')}:/usr/bin:/bin`;
  const bmux = (path = PATH) => run('/bin/sh', ['-c', 'bmux a'], { ...bmuxd.env, PATH: path });
  await writeFile(join(folders[2] ?? '', 'bmux'), '#!/bin/sh\necho "real $*"\n', { mode: 0o755 });
  t.match(await bmux(), { status: 0, stdout: 'real a\n', stderr: '' });
  const alone = `${folders.slice(0, 2).join(':')}:/usr/bin:/bin`;
  t.match(await bmux(alone), { status: 127, stderr: 'bmux: there is no other bmux in PATH\n' });
});

t.test('the program for PATH finds the daemon from cron, which has no XDG_RUNTIME_DIR', async (t) => {
  const bmuxd = await startBmuxd({
    config: '[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
  });
  t.teardown(() => bmuxd.stop());
  const [bin, home] = [join(bmuxd.folder, 'cron bin'), join(bmuxd.folder, 'cron home')];
  await mkdir(bin);
  await mkdir(join(home, '.config', 'bmuxd'), { recursive: true });
  await writeFile(join(home, '.config', 'bmuxd', 'bmuxd.toml'), 'autostart = false\n');
  await writeFile(join(bin, 'bmux'), (await bmuxd.bmuxd(['shell-init', 'sh'])).stdout, { mode: 0o755 });
  await symlink(BMUXD, join(bin, 'bmuxd'));
  const real = join(bmuxd.folder, 'real');
  await mkdir(real);
  await writeFile(join(real, 'bmux'), '#!/bin/sh\necho "real $*"\n', { mode: 0o755 });
  const ran = await run('/bin/sh', ['-c', 'bmux --target prod attach'], {
    HOME: home,
    BMUX_CONFIG_DIR: bmuxd.env['BMUX_CONFIG_DIR'] ?? '',
    PATH: `${bin}:${real}:${dirname(process.execPath)}:/usr/bin:/bin`,
  });
  t.match(ran, { status: 1, stdout: '', stderr: /\[tls_unreachable\]/ }, 'the daemon has tried it');
});

t.test('bmuxd exec --if-remote', async (t) => {
  const bmuxd = await startBmuxd({ config: '[connections.targets.here]\ntransport = "local"\n' });
  t.teardown(() => bmuxd.stop());
  const exec = (target: string) =>
    bmuxd.bmuxd(['exec', '--if-remote', '--', target, '--', 'sh', '-c', 'echo "${BMUX_TARGET-unset}"']);
  t.match(await exec('here'), { status: 0, stdout: 'here\n' });
  t.match(await exec('user@host'), { status: 0, stdout: 'user@host\n' });
  t.match(await exec(''), { status: 0, stdout: 'unset\n' });
  t.match(await exec('tls://127.0.0.1:1'), { status: 1, stdout: '' });
});

t.test('the file for shells', (t) => {
  t.equal(shellKey({ HOME: '/h', BMUX_TARGET: 'x', BMUX_RUNTIME_NAME: 'n' }), 'BMUX_RUNTIME_NAME=n|HOME=/h|');
  t.equal(shellKey({ HOME: '/h', BMUX_CONFIG_DIR: 'relative' }), undefined);
  t.equal(shellKey({ HOME: '/h\n' }), undefined);
  const remote = [
    { name: 'a b', folder: 'x' },
    { name: 'c\nd', folder: 'y' },
  ];
  t.equal(
    shellFileText({
      version: '1.2.3',
      process: { pid: 7, start: '99' },
      keys: ['k|'],
      defaultTarget: undefined,
      local: ['l'],
      remote,
      ready: [{ name: 'a', folder: 'y' }],
    }),
    'V1.2.3\nP7 99\nKk|\nD\nLl\nRx a b\nWy a\n',
  );
  t.end();
});

t.test('with the real bmux', { skip: realBmux() === undefined && 'real bmux not found' }, async (t) => {
  const bmux = realBmux() ?? '';
  await t.test('every command is sorted', async (t: Test) => {
    const { stdout } = await run(bmux, ['--help'], { HOME: t.testdir() });
    const names = [...(/\nCommands:\n([^]*?)\n\n/.exec(stdout)?.[1] ?? '').matchAll(/^ {2}([a-z][\w-]*)/gm)];
    t.ok(names.length > 50);
    const sorted = [...THROUGH, ...Object.keys(THROUGH_WITH), ...UNTOUCHED];
    t.same(
      names.map(([, name = '']) => name).filter((name) => !sorted.includes(name)),
      [],
    );
    t.equal(new Set(sorted).size, sorted.length, 'none is in two lists');
  });
  const server = await startServer();
  t.teardown(() => server.stop());
  const gateway = await startTlsGateway(server);
  t.teardown(() => gateway.stop());
  const config = `[connections.targets.prod]\ntransport = "tls"\nhost = "${gateway.host}"\nport = ${String(gateway.port)}\nserver_name = "localhost"\nca_file = "${gateway.caFile}"\n`;
  const bmuxd = await startBmuxd({ config });
  t.teardown(() => bmuxd.stop());
  const { all } = await shells(bmuxd, bmux);
  for (const { name, run } of all) {
    t.match(await run('bmux --target prod list-sessions'), /no sessions/, name);
    t.match(
      await run('bmux --target prod list-sessions', { SSH_AUTH_SOCK: `/none/${name}` }),
      /no sessions/,
      `${name}: through bmuxd exec`,
    );
  }
});
