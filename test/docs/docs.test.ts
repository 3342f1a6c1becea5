// Checks README.md and docs/ against the code: generated parts, commands, options, exit statuses, codes, links, routes.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { HELP } from '../../client-shim/arguments.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { main } from '../../daemon/cli/main.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { REGISTRY, type ErrorRow } from '../../daemon/errors/registry.ts';
import { RequestSchema } from '../../daemon/api/request.ts';
import { TargetSchema } from '../../daemon/config/bmux/schema.ts';
import { SETTINGS, TARGET_SETTINGS } from '../../daemon/config/settings/table.ts';
import { onPath, repositoryRoot, run } from '../real/index.ts';
import { manPages } from './man-page.ts';
import { PAGES, regenerated } from './pages.ts';

const read = (path: string): string => readFileSync(join(repositoryRoot(), path), 'utf8');
const docs = readdirSync(join(repositoryRoot(), 'docs'), { recursive: true, encoding: 'utf8' });
const ALL = ['README.md', ...docs.filter((path) => path.endsWith('.md')).map((path) => join('docs', path))];
const codes = new Set(Object.keys(REGISTRY));
const rows: readonly ErrorRow[] = Object.values(REGISTRY);

t.test('the generated parts of the pages are up to date', async (t) => {
  for (const page of PAGES) {
    const text = read(page);
    t.equal(text, regenerated(text), `${page}: npm run build && node dist/test/docs/generate.js`);
    t.match(text, /<!-- made from data: /, `${page} has generated parts`);
  }
});

t.test('the man pages are made by the build, and man reads them without a warning', async (t) => {
  const { man } = JSON.parse(read('package.json')) as { man: readonly string[] };
  const pages = manPages();
  t.strictSame(
    man.map((path) => basename(path)),
    Object.keys(pages),
  );
  const words: Readonly<Record<string, readonly string[]>> = {
    'bmuxd.1': COMMANDS.map(({ name }) => `bmuxd ${name}`),
    'bmux-stream.1': ['--if-running', '--epoch 3|4', 'the wire epoch that this client speaks'],
  };
  const skip = onPath('man') === undefined && 'man not found';
  for (const path of man) {
    t.equal(read(path), pages[basename(path)], 'npm run build');
    await t.test(path, { skip }, async (t) => {
      const file = join(repositoryRoot(), path);
      const shown = await run('man', ['-l', '--warnings', file], { MANWIDTH: '80', MANROFFOPT: '' });
      t.match(shown, { status: 0, stderr: '' });
      // Lines are filled up with blanks, and broken.
      const text = shown.stdout.replace(/.[\b]/g, '').replace(/\s+/g, ' ');
      for (const word of words[basename(path)] ?? []) t.ok(text.includes(word), word);
    });
  }
});

/** Code of a page: fenced lines and code spans. */
function codeOf(text: string): string[] {
  const fenced = [...text.matchAll(/```\w*\n([\s\S]*?)```/g)].flatMap(([, code = '']) => code.split('\n'));
  const spans = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
  return [...fenced, ...spans];
}

/** Each call of `program` in a line: its words up to a pipe, a comment or another command. */
function callsOf(program: string, line: string): string[][] {
  const call = new RegExp(`(?:^|[|(\`]|\\$ |&& )\\s*${program}( [^|#;&)\`]*)?`, 'g');
  return [...line.matchAll(call)].map(([, rest = '']) => rest.trim().split(/\s+/).filter(Boolean));
}

t.test('all commands and options in the pages exist', async (t) => {
  let seen = 0;
  for (const page of ALL) {
    for (const line of codeOf(read(page))) {
      // The text of a failure may begin like a command, but is none.
      if (rows.some(({ text }) => text.includes(line))) continue;
      // What bmuxd prints.
      if (/^bmuxd (?:has|\d)/.test(line)) continue;
      for (const [name, ...rest] of callsOf('bmuxd', line)) {
        if (name === undefined || name === 'COMMAND' || !/^[a-z]+$/.test(name)) continue;
        const command = COMMANDS.find((one) => one.name === name);
        t.ok(command, `${page}: bmuxd ${name}`);
        // Arguments after `--` belong to another program.
        const own = rest.join(' ').split(/(?:^| )-- /)[0] ?? '';
        for (const [, option = ''] of own.matchAll(/--([a-z-]+)/g)) {
          t.ok(option === 'help' || command?.options[option], `${page}: bmuxd ${name} --${option}`);
          seen += 1;
        }
      }
      for (const words of callsOf('bmux-stream', line)) {
        for (const word of words.filter((one) => one.startsWith('--'))) {
          t.ok(HELP.includes(word), `${page}: bmux-stream ${word}`);
          seen += 1;
        }
      }
    }
  }
  t.ok(seen > 2, `${String(seen)} options were checked`);
});

t.test(
  'exit statuses are the same in the README, in the help of both programs and in the registry',
  async (t) => {
    let help = '';
    const sink = (text: string): void => {
      help += text;
    };
    const context = {
      env: {},
      cwd: '/',
      version: '0',
      out: sink,
      err: sink,
      stdout: process.stdout,
      stderr: process.stderr,
    };
    t.equal(await main(['--help'], context), 0);
    const listed = (text: string): string[] =>
      [...(/Exit status: ([\s\S]*?)\.\n/.exec(text)?.[1] ?? '').matchAll(/(?:^|;\s+)(\d)\s/g)].map(
        ([, digit = '']) => digit,
      );
    const readme = [...read('README.md').matchAll(/^\| (\d)\s+\| /gm)].map(([, digit = '']) => digit);
    t.strictSame(listed(help), readme);
    t.strictSame(listed(HELP), readme);
    // The statuses of a command that `exec` runs are that command's own, and are listed below the table.
    const below = /`bmuxd exec` ends with .*/.exec(read('README.md'))?.[0] ?? '';
    for (const { exit } of rows)
      t.ok(
        readme.includes(String(exit)) || below.includes(` ${String(exit)} `),
        `exit status ${String(exit)}`,
      );
  },
);

t.test('all error codes in the pages are in the registry', async (t) => {
  const listed = [...read('docs/errors.md').matchAll(/^\| `(\w+)` \| `\w+` \| \d/gm)].map(
    ([, code = '']) => code,
  );
  t.strictSame(listed, [...codes]);
  const settings = new Set<string>([...SETTINGS, ...TARGET_SETTINGS].flatMap(({ name }) => name.split('.')));
  const keys = new Set(Object.keys(TargetSchema.properties));
  for (const page of ['README.md', 'docs/troubleshooting.md', 'docs/faq.md']) {
    const named = [...read(page).matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)].map(([, code = '']) => code);
    const unknown = named.filter((code) => !codes.has(code) && !settings.has(code) && !keys.has(code));
    t.strictSame(unknown, [], page);
  }
});

t.test('the documented fields of a request are those of its schema', async (t) => {
  const section =
    /`Bmux-Request` is one JSON object([\s\S]*?)<!--/.exec(read('docs/control-socket.md'))?.[1] ?? '';
  const listed = [...section.matchAll(/^\| `(\w+)`/gm)].map(([, field = '']) => field);
  t.strictSame(listed.sort(), Object.keys(RequestSchema.properties).sort());
});

/** Checks the tables whose last column is a file and code in it. Returns their number of rows. */
function checkCode(t: Test, page: string): number {
  const rows = [...page.matchAll(/\| `((?:daemon|client-shim)\/[\w./-]+)`: `([^`]+?) *` *\|$/gm)];
  for (const [, path = '', code = ''] of rows) t.ok(read(path).includes(code), `${path}: ${code}`);
  return rows.length;
}

t.test('the limits are those of the code', async (t) => {
  const page = read('docs/limits.md');
  t.equal(checkCode(t, page), (page.match(/^\| (?!what|-)/gm) ?? []).length, 'every row names its code');
});

/** Waits of docs/timeouts.md without a test that withholds the answer. It only gets smaller. */
const MAX_GAPS = 0;

t.test('the time limits are those of the code', async (t) => {
  const page = read('docs/timeouts.md');
  const rows = [
    ...page.matchAll(
      /^\| [^|]+ \| `(\w+)` *\| ([\d,]+) ms *\| `([\w./-]+)` *\| [^|]*\w[^|]* \| (?:`test\/.*`|none) *\|$/gm,
    ),
  ];
  const told = rows.map(([, name = '', ms = '']) => [name, Number(ms.replaceAll(',', ''))] as const);
  t.strictSame(Object.fromEntries(told), LIMITS, 'each row of LIMITS, with its value');
  t.equal(told.length, Object.keys(LIMITS).length, 'once');
  for (const [, name = '', , path = ''] of rows)
    t.match(read(path), new RegExp(`\\bLIMITS\\.${name}\\b`), `${path} owns ${name}`);
  const others = checkCode(t, page);
  t.ok(others > 10);
  // test/house/references.mjs looks whether the files are there.
  const tested = page.match(/^\| .*\| `test\/[\w./-]+\.test\.ts` *\|/gm)?.length ?? 0;
  const gaps = page.match(/\| none +\|/g)?.length ?? 0;
  t.equal(tested + gaps, rows.length + others, 'each row names a test, or that there is none');
  t.ok(gaps <= MAX_GAPS, `${String(gaps)} rows without a test`);
});

t.test('links lead to existing pages, and the settings in the pages exist', async (t) => {
  for (const page of ALL) {
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^https?:/.test(target)) continue;
      t.ok(existsSync(join(repositoryRoot(), dirname(page), target)), `${page}: ${target}`);
    }
    for (const [path] of read(page).matchAll(
      /(?<![\w./-])(?:daemon|test|client-shim|systemd|launchd)\/[\w./-]*\w/g,
    ))
      t.ok(existsSync(join(repositoryRoot(), path)), `${page}: ${path}`);
  }
  const names: readonly string[] = SETTINGS.map(({ name }) => name);
  t.ok(names.includes('engine.drain_grace'), 'named in docs/architecture.md');
  t.ok(names.includes('log.level'), 'named in docs/settings.md');
});
