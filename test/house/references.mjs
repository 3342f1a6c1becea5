// Checks that what comments and pages refer to exists: pages, their headings, files and links. Also checks the size of files and folders. To run
// it alone: `node test/house/references.mjs`, which prints nothing when there are no problems.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

import { filesUnder } from './build.mjs';

const TOP = ['daemon', 'client-shim', 'test', 'bench', 'docs', 'systemd', 'launchd'];
/** Maximum lines of a file, so that a person can read it at once. Tables of data are exempt, because nobody reads them from start to end. */
const MAX_LINES = 300;
/** Maximum lines of a file that only puts parts together: it reads as a table of contents. */
const MAX_ROOT_LINES = 150;
const ROOTS = new Set(['daemon/control/main.ts', 'daemon/engine/main.ts']);
const DATA_TABLES = new Set(['daemon/errors/registry.ts', 'daemon/cli/command-table.ts']);
/** Maximum number of source files in one folder. */
const MAX_FILES = 12;
/** Files that contain made-up paths. */
const MADE_UP = /^test\/house\/(layers|references|words)\.(test\.ts|mjs)$/;

/** Files of the repository, without those that are ignored; relative to `root`, sorted. */
export function trackedFiles(root) {
  const listed = spawnSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
  const files =
    listed.status === 0
      ? listed.stdout.split('\n')
      : [...TOP.flatMap((folder) => filesUnder(root, folder)), 'README.md', 'CONTRIBUTING.md', 'SECURITY.md'];
  return files.filter((file) => file !== '' && existsSync(join(root, file))).sort();
}

/** The headings of a page, as they are written. */
function headingsOf(text) {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading.replaceAll('`', '').trim());
}

/** The anchor that repository hosts make from a heading. */
function anchorOf(heading) {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

/** References of one file to what does not exist. `read` returns a file's text, or undefined when there is no such file. */
export function referenceProblems(file, text, read) {
  const problems = [];
  const lineOf = (at) => text.slice(0, at).split('\n').length;
  const say = (at, reason) => problems.push(`${file}:${lineOf(at)}: ${reason}`);
  // docs/page.md, "Heading"
  for (const match of text.matchAll(/\b(docs\/[\w/-]+\.md)(?:`?, "([^"\n]+)")?/g)) {
    const [, page, heading] = match;
    const content = read(page);
    if (content === undefined) say(match.index, `there is no ${page}`);
    else if (heading !== undefined && !headingsOf(content).includes(heading))
      say(match.index, `${page} has no heading "${heading}"`);
  }
  const path = new RegExp(
    String.raw`(?<![\w/.@-])((?:${TOP.join('|')})/[\w./-]+\.(?:ts|mjs|json|service|socket|plist|toml))(?![\w*])`,
    'g',
  );
  for (const match of text.matchAll(path)) {
    if (read(match[1]) === undefined) say(match.index, `there is no ${match[1]}`);
  }
  // dist/test/area/name.test.js is built from test/area/name.test.ts.
  const built = new RegExp(String.raw`\bdist/((?:${TOP.join('|')})/[\w./-]+)\.js(?![\w*])`, 'g');
  for (const match of text.matchAll(built)) {
    if (read(`${match[1]}.ts`) === undefined) say(match.index, `nothing is built to ${match[0]}`);
  }
  if (!file.endsWith('.md')) return problems;
  for (const match of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    const [target, anchor] = match[1].split('#');
    if (/^[a-z]+:/.test(target)) continue;
    const linked = target === '' ? file : posix.join(dirname(file), target);
    const content = linked.endsWith('/') ? '' : read(linked);
    if (content === undefined) say(match.index, `the link to ${match[1]} leads nowhere`);
    else if (anchor !== undefined && !headingsOf(content).map(anchorOf).includes(anchor))
      say(match.index, `${linked} has no heading for #${anchor}`);
  }
  return problems;
}

/** Files and folders that are too large: `files` maps each path to its text. */
export function sizeProblems(files) {
  const problems = [];
  const folders = new Map();
  for (const [file, text] of files) {
    const lines = text.split('\n').length - 1;
    const most = ROOTS.has(file) ? MAX_ROOT_LINES : MAX_LINES;
    if (lines > most && !DATA_TABLES.has(file))
      problems.push(`${file}:1: ${lines} lines, more than ${most}: is there a second concept in it?`);
    const folder = dirname(file);
    folders.set(folder, (folders.get(folder) ?? 0) + 1);
  }
  for (const [folder, count] of folders) {
    if (count > MAX_FILES)
      problems.push(`${folder}: ${count} files, more than ${MAX_FILES}: which folder is missing?`);
  }
  return problems;
}

/** All problems in the tree at `root`. */
export function checkReferences(root) {
  const all = trackedFiles(root);
  const read = (file) => {
    const full = join(root, file);
    return existsSync(full) ? readFileSync(full, 'utf8') : undefined;
  };
  const texts = all
    .filter((file) => /\.(ts|mjs|md|service|socket|plist)$/.test(file))
    .map((file) => [file, read(file) ?? '']);
  const sources = texts.filter(([file]) => /\.(ts|mjs)$/.test(file));
  return [
    ...texts
      .filter(([file]) => !MADE_UP.test(file) && file !== 'CHANGELOG.md')
      .flatMap(([file, text]) => referenceProblems(file, text, read)),
    ...sizeProblems(sources),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkReferences(fileURLToPath(new URL('../..', import.meta.url)));
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
