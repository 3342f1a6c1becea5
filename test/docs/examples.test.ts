// Checks the examples of all pages: configs are valid, commands fit the table of commands and bash, and what can be run here is run.
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parse as parseShim } from '../../client-shim/arguments.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { checkArgs, parsed } from '../../daemon/cli/help/parse.ts';
import { parseSettings } from '../../daemon/config/settings/load.ts';
import { compose } from '../config/bmux/composed.ts';
import { BMUXD, SHIM, startBmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { onPath, repositoryRoot, run } from '../real/index.ts';

const root = repositoryRoot();
const isPage = (path: string): boolean => path.endsWith('.md');
const inDocs = (await readdir(join(root, 'docs'), { recursive: true })).map((path) => join('docs', path));
const pages = new Map<string, string>();
for (const path of [...(await readdir(root)), ...inDocs].filter(isPage))
  pages.set(path, await readFile(join(root, path), 'utf8'));

interface Block {
  readonly page: string;
  readonly text: string;
}

function blocks(language: string): Block[] {
  const fenced = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g');
  return [...pages].flatMap(([page, all]) =>
    [...all.matchAll(fenced)].map(([, text = '']) => ({ page, text })),
  );
}

const consoles = blocks('console').map(({ page, text }) => ({
  page,
  text: text.replace(/^(?!\$ ).*\n/gm, '').replace(/^\$ /gm, ''),
}));
const shell = [...blocks('sh'), ...consoles];

t.test('configs are valid', async (t) => {
  let checked = 0;
  for (const { page, text } of blocks('toml')) {
    // The store of known gateways is in docs/bmux-protocol.md with the fields that bmux writes.
    if (text.startsWith('[gateways.')) continue;
    checked += 1;
    if (/^\[(?:connections|general|behavior)/m.test(text)) t.strictSame(compose(text).warnings, [], page);
    else t.equal(parseSettings(page, Buffer.from(text)).problem, undefined, page);
  }
  t.ok(checked > 5);
});

t.test(
  'bash understands each block',
  { skip: onPath('bash') === undefined && 'bash not found' },
  async (t) => {
    const all = shell.map(({ text }) => `(\n${text}\n)`).join('\n');
    t.match(await run('bash', ['-nc', all], {}), { status: 0, stderr: '' });
  },
);

/** The calls of a program in a script: the words after its name, up to what ends a command. */
function callsOf(program: string, script: string): string[][] {
  const lines = script
    .replaceAll('\\\n', ' ')
    .replace(/(?:^|\s)#.*$/gm, '')
    .replace(/\d?> *\S+/g, '');
  const calls = lines.matchAll(
    new RegExp(`(?:^|[\\s(;&|])${program}((?: +(?:'[^']*'|"[^"]*"|[^\\s;&|()<>]+))*)`, 'gm'),
  );
  return [...calls].map(([, words = '']) =>
    [...words.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, one, two, three]) =>
      (one ?? two ?? three ?? '').replace(/"$/, ''),
    ),
  );
}

t.test('commands fit the table of commands', async (t) => {
  const examples = COMMANDS.flatMap(({ name, examples }) =>
    examples.map(([text]) => ({ page: `bmuxd help ${name}`, text })),
  );
  let checked = 0;
  for (const { page, text } of [...shell, ...examples]) {
    for (const [name = '--help', ...rest] of callsOf('bmuxd', text)) {
      if (name.startsWith('-')) continue;
      const command = COMMANDS.find((one) => one.name === name);
      t.ok(command, `${page}: bmuxd ${name}`);
      if (command === undefined) continue;
      t.doesNotThrow(
        () => {
          checkArgs(command, parsed(command, rest));
        },
        `${page}: bmuxd ${name} ${rest.join(' ')}`,
      );
      checked += 1;
    }
    for (const words of callsOf('bmux-stream', text))
      t.doesNotThrow(() => parseShim(words), `${page}: bmux-stream ${words.join(' ')}`);
  }
  t.ok(checked > 50, `${String(checked)} commands`);
});

/** Blocks that are run with a daemon whose target `prod` is there, and what they print. */
const RUN: readonly { page: string; has: string; prints: RegExp; needs?: string }[] = [
  { page: 'README.md', has: 'bmuxd shell-init bash', prints: /^$|NAME/, needs: 'bash' },
  { page: 'README.md', has: 'bmux-stream --epoch 4 prod', prints: /^ 06 00 00 00 04 02 01/ },
  { page: 'README.md', has: '/v1/status', prints: /"state":"ready"/, needs: 'curl' },
  {
    page: 'docs/control-socket.md',
    has: '/v1/health',
    prints: /"state":"ready".*"code":"stream_unknown"/s,
    needs: 'curl',
  },
  {
    page: 'docs/control-socket.md',
    has: 'tls://127.0.0.1:1',
    prints: /502 .*"tls_unreachable"/s,
    needs: 'curl',
  },
  { page: 'docs/metrics.md', has: 'promtool', prints: /^$/, needs: 'promtool' },
  { page: 'docs/targets.md', has: 'bmuxd trust list', prints: /mode: prompt\n/ },
];

t.test('what can be run here does what the page says', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bx-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const world = await launchEmbedded({
    socketPath: join(folder, 'server.sock'),
    server: { epoch: 4 },
    tls: { compression: 'none' },
  });
  t.teardown(() => world.stop());
  const { port = 0, certPem = '' } = world.tls ?? {};
  await writeFile(join(folder, 'ca.pem'), certPem);
  const daemon = await startBmuxd({
    config: `[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(port)}\nserver_name = "localhost"\nca_file = "${join(folder, 'ca.pem')}"\n`,
  });
  t.teardown(() => daemon.stop());
  await symlink(BMUXD, join(folder, 'bmuxd'));
  await symlink(SHIM, join(folder, 'bmux-stream'));
  const env = { ...daemon.env, PATH: `${folder}:${process.env['PATH'] ?? ''}`, S: daemon.socketPath };
  for (const { page, has, prints, needs = 'sh' } of RUN) {
    const block = shell.find((one) => one.page === page && one.text.includes(has));
    await t.test(
      `${page}: ${has}`,
      { skip: onPath(needs) === undefined && `${needs} not found` },
      async (t) => {
        // The embedded server answers no command of bmux, `attach` needs a terminal, and `trust add` a person or a gateway of that name.
        const script = (block?.text ?? '').replace(
          /^.*(?:bmux --target|-- bmux|bmuxd trust (?:add|remove)).*\n/gm,
          '',
        );
        const ran = await run(
          needs === 'bash' ? 'bash' : 'sh',
          ['-c', `exec </dev/null\nset -e\n${script}`],
          env,
        );
        t.match(ran, { status: 0, stdout: prints });
      },
    );
  }
  await t.test('README.md: the library', async (t) => {
    const text = blocks('js').find(({ text: code }) => code.includes("from 'bmuxd'"))?.text ?? '';
    // A file of the package finds it by its name.
    const path = join(root, 'dist/test/docs', `example-${String(process.pid)}.mjs`);
    await writeFile(path, text);
    t.teardown(() => rm(path));
    t.match(await run(process.execPath, [path], env), { status: 0, stdout: /^tls (?:true|false)\n$/ });
  });
});
