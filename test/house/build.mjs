// Builds dist/: compiles everything with tsc, then bundles `bmux-stream` and the commands of `bmuxd` into one CommonJS file each, which Node
// loads faster than modules, and makes the man page. Does nothing when dist/ is up to date.
// Removes outputs whose source has been deleted, so that a deleted test does not run.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const SOURCE_FOLDERS = ['daemon', 'client-shim', 'test', 'bench'];
const ALSO_DECIDING = ['tsconfig.json', 'package.json', 'package-lock.json', 'test/house/build.mjs'];
/** The bundled programs: the source without its ending, and the file in dist/ without its ending. */
const BUNDLES = [
  { entry: 'client-shim/bmux-stream', output: 'client-shim/bmux-stream' },
  { entry: 'daemon/bin/bmuxd-front', output: 'daemon/bin/bmuxd' },
];
/** The program that makes the man page, and the page. */
const MAN_PAGE = { entry: 'test/docs/man-page', output: 'dist/man/bmuxd.1' };
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
  for (const file of [...sources, ...ALSO_DECIDING]) {
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
  for (const { output } of bundlesOf(sources))
    for (const ending of ['.cjs', '.cjs.map']) outputs.add(`dist/${output}${ending}`);
  if (sources.includes(`${MAN_PAGE.entry}.ts`)) outputs.add(MAN_PAGE.output);
  return outputs;
}

function bundlesOf(sources) {
  return BUNDLES.filter(({ entry }) => sources.includes(`${entry}.ts`));
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

/** Modules that stay outside of the bundles, as files of their own in dist/: those of the daemon. */
const DAEMON = /^daemon\/(bin\/bmuxd|control\/.*|sockets\/check-node)\.ts$/;

/** Lets the bundle in `dist/<folder of output>` import the modules of the daemon from dist/. */
function outside(root, output) {
  return {
    name: 'outside',
    setup: ({ onResolve }) => {
      onResolve({ filter: /^\./ }, ({ path, resolveDir, kind }) => {
        const source = relative(root, join(resolveDir, path));
        if (kind !== 'dynamic-import' || !DAEMON.test(source)) return undefined;
        const there = relative(dirname(output), source.replace(/\.ts$/, '.js'));
        return { path: there.startsWith('.') ? there : `./${there}`, external: true };
      });
    },
  };
}

/** Code that an old Node can parse, too: it says which Node is needed. The rest is compiled for such a Node, but not run by it. */
function checkOfNode(root) {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [major, minor] = engines.node.replace('>=', '').split('.').map(Number);
  return `(function () {
  var parts = process.versions.node.split('.').map(Number);
  if (parts[0] > ${major} || (parts[0] === ${major} && parts[1] >= ${minor})) return;
  process.stderr.write('bmuxd needs Node >= ${major}.${minor}, and this is ' + process.version + ': ' + process.execPath + '\\n');
  process.exit(1);
})();`;
}

async function bundle(root, { entry, output }) {
  const { build } = await import('esbuild');
  const outfile = join(root, `dist/${output}.cjs`);
  const source = join(root, `${entry}.ts`);
  // The bundler keeps a `#!` line of the source, and a second one would be a syntax error.
  const first = readFileSync(source, 'utf8').startsWith('#!') ? '' : '#!/usr/bin/env node\n';
  await build({
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node12',
    supported: { 'dynamic-import': true },
    format: 'cjs',
    sourcemap: 'linked',
    packages: 'external',
    define: { 'import.meta.url': 'moduleUrl' },
    banner: {
      js: `${first}"use strict";\n${checkOfNode(root)}\nconst moduleUrl = require('node:url').pathToFileURL(__filename).href;`,
    },
    plugins: [outside(root, output)],
    logLevel: 'warning',
  });
  chmodSync(outfile, 0o755);
}

async function writeManPage(root, { entry, output }) {
  const { manPage } = await import(pathToFileURL(join(root, `dist/${entry}.js`)).href);
  mkdirSync(join(root, dirname(output)), { recursive: true });
  writeFileSync(join(root, output), manPage());
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
  for (const one of bundlesOf(sources)) await bundle(root, one);
  if (outputs.has(MAN_PAGE.output)) await writeManPage(root, MAN_PAGE);
  const programs = [...outputs].filter((file) => /^dist\/daemon\/bin\/[^/]+\.js$/.test(file));
  for (const program of programs) chmodSync(join(root, program), 0o755);
  writeFileSync(stamp, fingerprint);
  return '';
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const errors = await build(root);
  if (errors !== '') console.error(errors);
  process.exitCode = errors === '' ? 0 : 1;
}
