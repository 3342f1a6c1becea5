// Tests the other tools in test/house: counting of test results, the check for installed packages, and completing the lock file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import t from 'tap';
import { bundleOf, COMMANDS_IN } from '../../daemon/bin/bundles.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { SH_EXEC } from '../../daemon/cli/shell/shell-in-front.ts';

interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: { path: string; reason: string }[];
  readonly files: { name: string; ms: number }[];
}
interface Entry {
  version: string;
  optional?: boolean;
  optionalDependencies?: Record<string, string>;
}
type Packages = Record<string, Entry>;

const root = new URL('../../../', import.meta.url);
const tool = async (name: string): Promise<unknown> => import(new URL(`test/house/${name}.mjs`, root).href);
const { runTests } = (await tool('runner/tests')) as {
  runTests: (
    files: readonly string[],
    options: { root: string; say: (line: string) => void; first: () => Promise<void> },
  ) => Promise<Tally>;
};
const { missingEntries } = (await tool('lock')) as {
  missingEntries: (packages: Packages) => Packages;
};
const { isInstalled, nodeProblem } = (await tool('setup')) as {
  isInstalled: (lock: { packages: Packages }, installed: { packages: Packages }) => boolean;
  nodeProblem: (version: string, range: string) => string | undefined;
};

/** A test file with each kind of result. Its results are counted as in `npm test`. */
const SAMPLE = `
import t from 'tap';
t.test('outer', async (t) => {
  t.pass('one');
  t.test('inner', async (t) => { t.pass('two'); t.pass('three'); });
});
t.test('absent', { skip: 'no such program' }, async (t) => { t.fail(); });
t.test('one is # two', async (t) => {
  // not ok 9 - quoted in the diagnosis
  t.equal(1, 2, 'a # b');
});
`;

t.test('assertions are counted, subtests are not, and a failure is printed with its diagnosis', async (t) => {
  const folder = mkdtempSync(fileURLToPath(new URL('sample-', import.meta.url)));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const names = ['fine.js', 'cut.js', 'empty.js'];
  writeFileSync(join(folder, 'fine.js'), SAMPLE);
  writeFileSync(
    join(folder, 'cut.js'),
    "import t from 'tap'; t.test('x', async () => { process.exit(3); });",
  );
  writeFileSync(join(folder, 'empty.js'), '');
  const said: string[] = [];
  let first = 0;
  const tally = await runTests(
    names.map((name) => join(folder, name)),
    {
      root: fileURLToPath(root),
      say: (line) => said.push(line),
      first: async () => void (first += 1),
    },
  );
  t.equal(first, 1);
  t.equal(tally.passed, 3);
  t.equal(tally.failed, 3, 'the failed assertion, the test that was cut off, and the file without a result');
  t.match(
    tally.skipped.map(({ reason }) => reason),
    ['no such program'],
  );
  t.equal(tally.files.length, names.length);
  t.match(
    said.join('\n'),
    /not ok - .*fine\.js > one is .*# two > a # b\n(.*\n)*.*\+1/,
    'with its path and diff',
  );
});

t.test('each command is in the table, and in the bundle that is loaded for it', (t) => {
  const sourcesOf = (name: string): string => {
    const map = readFileSync(join(fileURLToPath(root), `dist/daemon/bin/${name}.cjs.map`), 'utf8');
    return (JSON.parse(map) as { sources: string[] }).sources.join('\n');
  };
  const names = new Set(['--version', '-V', SH_EXEC, ...COMMANDS.map(({ name }) => name)]);
  t.same(
    Object.values(COMMANDS_IN)
      .flat()
      .filter((name) => !names.has(name)),
    [],
  );
  t.equal(bundleOf('streams'), 'bmuxd-all');
  t.match(sourcesOf(bundleOf('streams')), /daemon\/cli\/commands\/lists\.ts/);
  t.match(sourcesOf(bundleOf('status')), /daemon\/cli\/status\/status\.ts/);
  t.notMatch(sourcesOf(bundleOf('status')), /daemon\/cli\/(service|attach|commands)\/|smol-toml/);
  t.end();
});

t.test('the quick commands load neither the schemas nor the reader of the config', (t) => {
  const map = readFileSync(join(fileURLToPath(root), 'dist/daemon/bin/bmuxd-quick.cjs.map'), 'utf8');
  const { sources } = JSON.parse(map) as { sources: string[] };
  t.match(sources.join('\n'), /daemon\/cli\/shell\/exec\.ts/);
  t.notMatch(sources.join('\n'), /typebox|proper-lockfile|daemon\/config\/bmux/);
  t.end();
});

t.test('missing entries of a lock file are made from its other entries', async (t) => {
  const packages: Packages = {
    'node_modules/a': {
      version: '1.0.0',
      optionalDependencies: { '@a/linux-x64-musl': '1.2.3', '@a/darwin-arm64': '1.2.3' },
    },
    'node_modules/@a/darwin-arm64': { version: '1.2.3', optional: true },
  };
  t.strictSame(missingEntries(packages), {
    'node_modules/@a/linux-x64-musl': {
      version: '1.2.3',
      cpu: ['x64'],
      libc: ['musl'],
      optional: true,
      os: ['linux'],
    },
  });
  const unclear: Packages = {
    'node_modules/b': { version: '1.0.0', optionalDependencies: { fast: '1.0.0' } },
  };
  t.throws(() => missingEntries(unclear), /by hand/);
  const own = JSON.parse(readFileSync(new URL('package-lock.json', root), 'utf8')) as { packages: Packages };
  t.strictSame(
    missingEntries(own.packages),
    {},
    'our lock file is complete; otherwise `npm ci` refuses it, and `npm run lock` completes it',
  );
});

t.test('installed packages are recognised by their versions', async (t) => {
  const lock = {
    packages: { '': { version: '1.0.0' }, a: { version: '1.0.0' }, b: { version: '2.0.0', optional: true } },
  };
  t.equal(
    isInstalled(lock, { packages: { a: { version: '1.0.0' } } }),
    true,
    'a package for another platform may be absent',
  );
  t.equal(isInstalled(lock, { packages: { a: { version: '1.0.1' } } }), false);
  t.equal(isInstalled(lock, { packages: {} }), false);
  t.equal(nodeProblem('20.19.0', '>=20.19'), undefined);
  t.equal(nodeProblem('22.1.0', '>=20.19'), undefined);
  t.match(nodeProblem('20.18.3', '>=20.19'), /20\.18\.3/);
});
