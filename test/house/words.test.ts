// Tests the check of words with made-up files: some contain words of before the rename and must be found, the others must not.
import t from 'tap';

interface Words {
  wordProblems: (file: string, text: string) => string[];
}

// These tools are not compiled into dist/, so they are imported from the source folder.
const tool = new URL('../../../test/house/words.mjs', import.meta.url);
const { wordProblems } = (await import(tool.href)) as Words;

const refused: readonly [name: string, file: string, text: string, problem: string][] = [
  ['a comment', 'daemon/x.ts', '// The door of a target.\n', "daemon/x.ts:1: 'door'"],
  ['a string', 'daemon/x.ts', "\nlog('a sign of life');\n", "daemon/x.ts:2: 'sign of life'"],
  ['a name', 'daemon/x.ts', 'const openDoors = 1;\n', "daemon/x.ts:1: 'Door'"],
  ['a private name', 'daemon/x.ts', 'class A { #shelf = 1; }\n', "daemon/x.ts:1: '#shelf'"],
  ['a property of an object', 'daemon/x.ts', 'const a = { spillBytes: 1 };\n', "daemon/x.ts:1: 'spill'"],
  ['a race of our own', 'daemon/x.ts', 'await hello.race();\n', "daemon/x.ts:1: 'race'"],
  ['a page', 'docs/x.md', '# Page\n\nIt was learnt.\n', "docs/x.md:3: 'learnt'"],
  ['a setting', 'x.toml', 'a = "Places"\n', "x.toml:1: 'Places'"],
  ['a path', 'daemon/known-contexts.ts', '', "daemon/known-contexts.ts:1: 'known contexts'"],
  ['activation', 'docs/x.md', 'With activation.\n', "docs/x.md:1: 'activation'"],
  [
    'the memory of Hello',
    'docs/x.md',
    'It is answered from memory.\n',
    "docs/x.md:1: 'answered from memory'",
  ],
  ['a promise', 'docs/x.md', 'The promise was broken.\n', "docs/x.md:1: 'promise was broken'"],
];

t.test('an old word is reported with its line and the word to use', async (t) => {
  for (const [name, file, text, problem] of refused) {
    const problems = wordProblems(file, text);
    t.equal(problems.length, 1, `${name}: reported once`);
    t.ok(problems[0]?.startsWith(`${problem}: the word is `), `${name}: ${String(problems[0])}`);
  }
});

t.test('other words are not reported', async (t) => {
  const allowed: readonly [file: string, text: string][] = [
    ['daemon/x.ts', '// The target socket of a target.\nconst targetSocket = 1;\n'],
    ['daemon/x.ts', 'await Promise.race([a, b]);\n'],
    ['daemon/x.ts', "import { a } from '../door/a.ts';\n"],
    ['daemon/x.ts', 'const generations = [1];\n'],
    ['daemon/x.ts', 'const compromised = replaces;\n'],
    ['docs/x.md', 'Socket activation. The text replaces another one; a Promise rejects.\n'],
    ['daemon/socket-activation.ts', ''],
  ];
  for (const [file, text] of allowed) t.same(wordProblems(file, text), [], `${file}: ${text}`);
});
