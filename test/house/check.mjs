// `npm test`: builds, runs all checks and tests at the same time, and prints the totals. `npm test -- PATTERN` builds and runs only the test
// files whose path contains PATTERN. The tests run even when a check has failed, but not when the build has failed.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, filesUnder } from './build.mjs';
import { checkLayers } from './layers.mjs';
import { checkReferences } from './references.mjs';
import { runTests } from './runner/tests.mjs';
import { checkWords } from './words.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = (name) => join(root, 'node_modules', name);
const SLOWEST = 5;
/** Folders with tests that take minutes. They come first, so that the run does not end with one of them alone. */
const LONG = [
  'dist/test/soak/',
  'dist/test/end-to-end/',
  'dist/test/transport/',
  'dist/test/streams/',
  'dist/test/package/',
];
const CHECK_LIMIT_MS = 300_000;

/** Checks by name. Each resolves with the problems as text; the text is empty when there are none. */
const CHECKS = {
  format: () => run(bin('oxfmt/bin/oxfmt'), ['--check', '.']),
  lint: () =>
    run(bin('oxlint/bin/oxlint'), [
      '--type-aware',
      '--deny-warnings',
      '--report-unused-disable-directives',
      '--format=unix',
    ]),
  layers: async () => checkLayers(root).join('\n'),
  words: async () => checkWords(root).join('\n'),
  references: async () => checkReferences(root).join('\n'),
  'dead code': () => run(bin('knip/bin/knip.js'), ['--no-progress', '--no-config-hints']),
};

/** Runs a Node program. Resolves with its whole output when it fails, otherwise with ''. */
function run(program, args) {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(process.execPath, [program, ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: CHECK_LIMIT_MS,
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    }
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) =>
      resolve(status === 0 ? '' : output.trim() || `ended with ${signal ?? status}`),
    );
  });
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** Runs one named step and prints its result. Resolves with true when there was no problem. */
async function step(name, work) {
  const start = performance.now();
  const problem = await work();
  console.log(`${problem === '' ? 'ok    ' : 'FAILED'} ${name} (${seconds(performance.now() - start)})`);
  if (problem !== '') console.log(`${problem}\n`);
  return problem === '';
}

function report(tally) {
  const reasons = new Set(tally.skipped.map(({ reason }) => reason));
  for (const reason of reasons) {
    console.log(`skipped: ${reason}`);
    for (const entry of tally.skipped) if (entry.reason === reason) console.log(`    ${entry.path}`);
  }
  const slowest = [...tally.files].sort((a, b) => b.ms - a.ms).slice(0, SLOWEST);
  console.log(
    `slowest: ${slowest.map(({ name, ms }) => `${name.replace('dist/test/', '')} ${seconds(ms)}`).join(', ')}`,
  );
}

async function main(pattern) {
  if (!(await step('build', () => build(root)))) return { passed: 0, failed: 1, skipped: [] };
  const all = filesUnder(root, 'dist/test').filter((file) => file.endsWith('.test.js'));
  const isLong = (file) => LONG.some((folder) => file.startsWith(folder));
  const files = all
    .filter((file) => file.includes(pattern ?? ''))
    .sort((a, b) => Number(isLong(b)) - Number(isLong(a)));
  if (files.length === 0) {
    console.log(`not ok - no test file's path contains '${pattern ?? '.test.js'}'`);
    return { passed: 0, failed: 1, skipped: [] };
  }
  const start = performance.now();
  let failedChecks = 0;
  const checks = async () => {
    if (pattern !== undefined) return;
    for (const [name, check] of Object.entries(CHECKS)) if (!(await step(name, check))) failedChecks += 1;
  };
  const tally = await runTests(files, { root, say: (line) => console.log(line), first: checks });
  console.log(
    `${tally.failed === 0 ? 'ok    ' : 'FAILED'} tests (${files.length} files, ${seconds(performance.now() - start)})`,
  );
  report(tally);
  tally.failed += failedChecks;
  return tally;
}

const { passed, failed, skipped } = await main(process.argv[2]);
console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
