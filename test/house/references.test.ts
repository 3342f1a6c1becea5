// Tests the check of references with made-up files: some refer to what does not exist and must be found, the others must not.
import t from 'tap';

interface References {
  referenceProblems: (file: string, text: string, read: (file: string) => string | undefined) => string[];
  sizeProblems: (files: [file: string, text: string][]) => string[];
}

// These tools are not compiled into dist/, so they are imported from the source folder.
const tool = new URL('../../../test/house/references.mjs', import.meta.url);
const { referenceProblems, sizeProblems } = (await import(tool.href)) as References;

const files: Readonly<Record<string, string>> = {
  'docs/page.md': '# Page\n\n## The `first` part\n',
  'daemon/base/x.ts': '',
  'README.md': '# Read me\n',
};
const read = (file: string): string | undefined => files[file];

t.test('a reference to what does not exist is reported with its line', async (t) => {
  const refused: readonly [file: string, text: string, problem: string][] = [
    ['daemon/a.ts', '\n// docs/gone.md\n', 'daemon/a.ts:2: there is no docs/gone.md'],
    ['daemon/a.ts', '// docs/page.md, "Second"\n', 'daemon/a.ts:1: docs/page.md has no heading "Second"'],
    ['daemon/a.ts', '// daemon/base/gone.ts\n', 'daemon/a.ts:1: there is no daemon/base/gone.ts'],
    ['docs/a.md', 'node dist/test/gone.test.js\n', 'docs/a.md:1: nothing is built to dist/test/gone.test.js'],
    ['docs/a.md', '[page](gone.md)\n', 'docs/a.md:1: the link to gone.md leads nowhere'],
    ['docs/a.md', '\n[part](page.md#second)\n', 'docs/a.md:2: docs/page.md has no heading for #second'],
  ];
  for (const [file, text, problem] of refused) t.same(referenceProblems(file, text, read), [problem]);
});

t.test('a reference to what exists is not reported', async (t) => {
  const allowed: readonly [file: string, text: string][] = [
    ['daemon/a.ts', '// docs/page.md, "The first part"; daemon/base/x.ts\n'],
    ['daemon/a.ts', "import { a } from '../daemon/base/gone.ts'; // dist/daemon/base/gone.ts\n"],
    ['docs/a.md', 'node dist/daemon/base/x.js\n'],
    ['docs/a.md', '[part](page.md#the-first-part) and [read me](../README.md)\n'],
    ['docs/a.md', '[elsewhere](https://bmux.example/gone.md)\n'],
  ];
  for (const [file, text] of allowed) t.same(referenceProblems(file, text, read), [], text);
});

t.test('files and folders above the maximum size are reported', async (t) => {
  const lines = (count: number): string => 'x\n'.repeat(count);
  t.match(sizeProblems([['daemon/a.ts', lines(301)]]), [/^daemon\/a\.ts:1: 301 lines/]);
  t.same(sizeProblems([['daemon/a.ts', lines(300)]]), []);
  t.match(
    sizeProblems([['daemon/control/main.ts', lines(151)]]),
    [/151 lines, more than 150/],
    'a root is short',
  );
  t.same(sizeProblems([['daemon/errors/registry.ts', lines(301)]]), [], 'a table of data may be longer');
  const folder = (count: number): [string, string][] =>
    Array.from({ length: count }, (_, index) => [`daemon/base/x${String(index)}.ts`, '']);
  t.match(sizeProblems(folder(13)), [/^daemon\/base: 13 files/]);
  t.same(sizeProblems(folder(12)), []);
});
