// Builds dist/: compiles everything with tsc, then bundles the programs, the library and tap, and makes the man pages. Does nothing when dist/ is up to date.
// Removes outputs whose source has been deleted, so that a deleted test does not run.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { bundleAll, bundledFiles, SHELL_FRONT } from './bundle.mjs';
import { bundleTap, TAP_FILES } from './runner/tap.mjs';

const SOURCE_FOLDERS = ['daemon', 'client-shim', 'test', 'bench'];
const ALSO_DECIDING = [
  'tsconfig.json',
  'package.json',
  'package-lock.json',
  'test/house/build.mjs',
  'test/house/bundle.mjs',
  'test/house/runner/tap.mjs',
  SHELL_FRONT,
];
/** The program that makes the man pages, and the pages. */
const MAN_PAGES = { entry: 'test/docs/man-page', outputs: ['dist/man/bmuxd.1', 'dist/man/bmux-stream.1'] };
const STAMP = 'dist/.built';
const BUILD_INFO = 'dist/.tsbuildinfo';

/** All files under `folder` (relative to `root`), sorted; a missing folder has none. */
export function filesUnder(root, folder) {
  const found = [];
  const visit = (relative) => {
    const path = join(root, relative);
    if (!existsSync(path)) return;
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = `${relative}/${entry.name}`;
      if (entry.isDirectory()) visit(child);
      else found.push(child);
    }
  };
  visit(folder);
  return found.sort((a, b) => (a < b ? -1 : 1));
}

function sourcesOf(root) {
  return SOURCE_FOLDERS.flatMap((folder) => filesUnder(root, folder)).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.d.ts'),
  );
}

/** A hash of what the outputs depend on: names, sizes and times. Reading every file would take longer than the build saves. */
function fingerprintOf(root, sources) {
  const hash = createHash('sha256');
  for (const file of [...sources, ...ALSO_DECIDING].filter((one) => existsSync(join(root, one)))) {
    const { size, mtimeMs } = statSync(join(root, file));
    hash.update(`${file}\0${size}\0${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

function outputsOf(sources) {
  const outputs = new Set();
  for (const source of sources) {
    const stem = `dist/${source.slice(0, -'.ts'.length)}`;
    for (const ending of ['.js', '.js.map', '.d.ts']) outputs.add(stem + ending);
  }
  for (const file of [...bundledFiles(sources), ...TAP_FILES]) outputs.add(file);
  if (sources.includes(`${MAN_PAGES.entry}.ts`)) for (const file of MAN_PAGES.outputs) outputs.add(file);
  return outputs;
}

function removeStale(root, outputs) {
  for (const folder of SOURCE_FOLDERS) {
    const existing = filesUnder(root, `dist/${folder}`);
    for (const file of existing) if (!outputs.has(file)) rmSync(join(root, file));
    removeEmptyFolders(join(root, 'dist', folder));
  }
}

function removeEmptyFolders(path) {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeEmptyFolders(join(path, entry.name));
  }
  if (readdirSync(path).length === 0) rmdirSync(path);
}

/** Runs the compiler. Resolves with its errors; the text is empty when there are none. */
function compile(root) {
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [compiler, '-p', '.'],
      { cwd: root, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        resolve(error === null ? '' : `${stdout}${stderr}`.trim() || error.message);
      },
    );
  });
}

async function writeManPages(root, { entry, outputs }) {
  const { manPages } = await import(pathToFileURL(join(root, `dist/${entry}.js`)).href);
  const pages = manPages();
  for (const output of outputs) {
    mkdirSync(join(root, dirname(output)), { recursive: true });
    writeFileSync(join(root, output), pages[basename(output)]);
  }
}

/** Brings dist/ up to date. Resolves with the errors; the text is empty when there are none. */
export async function build(root) {
  const sources = sourcesOf(root);
  const outputs = outputsOf(sources);
  const fingerprint = fingerprintOf(root, sources);
  const stamp = join(root, STAMP);
  const complete = [...outputs].every((file) => existsSync(join(root, file)));
  if (complete && existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint) return '';
  rmSync(stamp, { force: true });
  // tsc writes only what has changed since its build info. Without the build info it writes everything again.
  if (!complete) rmSync(join(root, BUILD_INFO), { force: true });
  removeStale(root, outputs);
  const errors = await compile(root);
  if (errors !== '') return errors;
  await bundleAll(root, sources);
  await bundleTap(root);
  if (outputs.has(MAN_PAGES.outputs[0])) await writeManPages(root, MAN_PAGES);
  writeFileSync(stamp, fingerprint);
  return '';
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const errors = await build(root);
  if (errors !== '') console.error(errors);
  process.exitCode = errors === '' ? 0 : 1;
}
