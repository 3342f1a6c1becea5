// Installs packages and builds, where that is needed. `npm start`, `npm test`, `npm run bench`, `npm run soak` and `npm pack` run it first, so it
// is fast when there is nothing to do. It imports no packages, because none are installed yet. With `--no-build` it only installs.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from './build.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** The two packages with native code: what loads them, and what a machine needs for them. */
const NATIVE = [
  {
    name: 'zstd-napi',
    remedy:
      'It is compiled while it is installed. That takes a C++ compiler and make (Debian: build-essential; macOS: xcode-select --install), ' +
      "Python 3, and Node's headers (fetched by node-gyp; without internet: npm config set nodedir <prefix of a Node with include/node>). " +
      'Then: npm ci',
  },
  {
    name: '@number0/iroh/index.js',
    remedy:
      'It comes ready built for Linux (x64, arm64) and macOS (arm64). Where node_modules was made on another ' +
      'machine or without optional packages: npm ci --include=optional',
  },
];

/** Says why this version of Node is too old; undefined when it is not. `range` comes from package.json. */
export function nodeProblem(version, range) {
  const least = range.replace('>=', '').split('.').map(Number);
  const actual = version.split('.').map(Number);
  for (const [index, wanted] of least.entries()) {
    const have = actual[index] ?? 0;
    if (have > wanted) return undefined;
    if (have < wanted)
      return `bmuxd needs Node ${range}, and this is ${version}. Install a newer Node and try again.`;
  }
  return undefined;
}

/** Whether node_modules holds what the lock file says. Versions are compared, because git and copying change the times of files. */
export function isInstalled(lock, installed) {
  const have = installed.packages ?? {};
  return Object.entries(lock.packages).every(([key, entry]) => {
    if (key === '') return true;
    const found = have[key];
    return found === undefined ? entry.optional === true : found.version === entry.version;
  });
}

function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'));
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

/** Installs exactly what the lock file names. The output of npm is shown only when it fails. */
function install() {
  say('setup: installing packages (npm ci; about a minute)');
  // Under `npm pack --dry-run` the inner npm would inherit that option and install nothing.
  const { npm_config_dry_run: _, ...env } = process.env;
  const options = ['ci', '--include=dev', '--include=optional', '--loglevel=error'];
  const result = spawnSync('npm', options, { cwd: root, encoding: 'utf8', env });
  if (result.status === 0) return true;
  say(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`.trim());
  say(
    'setup: npm ci failed (above). It needs a package registry that it can reach, and for the native package zstd-napi:',
  );
  say(NATIVE[0].remedy);
  return false;
}

/** Makes tap's test class for the plugins of .taprc. Otherwise the first test run would make it, within its own time limits. */
function prepareTap() {
  spawnSync(process.execPath, [join(root, 'node_modules/tap/dist/esm/run.mjs'), 'build'], {
    cwd: root,
    stdio: 'ignore',
  });
}

function nativeProblems() {
  const require = createRequire(import.meta.url);
  return NATIVE.flatMap(({ name, remedy }) => {
    try {
      require(name);
      return [];
    } catch (error) {
      const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
      return [`setup: ${name} does not load: ${line}\n${remedy}`];
    }
  });
}

async function main() {
  const old = nodeProblem(process.versions.node, readJson('package.json').engines.node);
  if (old !== undefined) return [old];
  const notes = 'node_modules/.package-lock.json';
  if (!existsSync(join(root, notes)) || !isInstalled(readJson('package-lock.json'), readJson(notes))) {
    if (!install()) return ['setup: stopped'];
    prepareTap();
  }
  const broken = nativeProblems();
  if (broken.length > 0) return broken;
  if (process.argv.includes('--no-build')) return [];
  const errors = await build(root);
  return errors === '' ? [] : [errors, 'setup: the build failed (above)'];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = await main();
  for (const problem of problems) say(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
