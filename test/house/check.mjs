// `npm test`: every check of the house in order, then all tests, and one plain closing line. `npm test -- PATTERN` runs the test files whose
// path contains PATTERN, and nothing else but the build. A failed check does not keep the tests from running; a failed build does.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { build, filesUnder } from './build.mjs';
import { checkLayers } from './layers.mjs';
import { Tally } from './tally.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = (name) => join(root, 'node_modules', name);
const SLOWEST = 5;
const CHECK_LIMIT_MS = 300_000;
/** Test files at once: a file starts several processes, and a machine for tests has two cores. */
const JOBS = 2;
/** Per test file. Tests wait for conditions under their own deadlines; this one only ends a file that hangs. */
const FILE_LIMIT_MS = 180_000;
const FILE_GRACE_MS = 5000;

/** Checks by name; each resolves with what is wrong, as text, or with nothing. */
const CHECKS = {
  format: () => run(bin('prettier/bin/prettier.cjs'), ['--check', '--log-level=warn', '.']),
  lint: () =>
    run(bin('oxlint/bin/oxlint'), [
      '--type-aware',
      '--deny-warnings',
      '--report-unused-disable-directives',
      '--format=unix',
    ]),
  layers: async () => checkLayers(root).join('\n'),
  'dead code': () => run(bin('knip/bin/knip.js'), ['--no-progress', '--no-config-hints']),
};

/** Runs a Node program; resolves with its whole output when it fails, else with ''. */
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

/** Runs one named step and says how it went. Resolves with whether it was fine. */
async function step(name, work) {
  const start = performance.now();
  const problem = await work();
  console.log(`${problem === '' ? 'ok    ' : 'FAILED'} ${name} (${seconds(performance.now() - start)})`);
  if (problem !== '') console.log(`${problem}\n`);
  return problem === '';
}

/**
 * Runs the test files, each a TAP program of its own, two at a time; resolves with the tally. Not by tap's own runner: that loads a module
 * into every Node process that a test starts, daemons and shims among them, which then start late and take signals differently.
 */
async function runTests(files) {
  const tally = new Tally((line) => console.log(line));
  const waiting = [...files];
  let number = 0;
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const { lines, ms, problem } = await runFile(file);
      number += 1;
      tally.line(`# Subtest: ${file}`);
      for (const line of lines) tally.line(`    ${line}`);
      if (problem !== undefined) console.log(`${file}: ${problem}`);
      tally.line(`${problem === undefined ? 'ok' : 'not ok'} ${number} - ${file} # time=${ms}ms`);
    }
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  return tally;
}

/** One test file: its TAP lines, how long it took, and what was wrong with its end. */
function runFile(file) {
  const start = performance.now();
  return new Promise((resolve) => {
    const lines = [];
    const child = spawn(process.execPath, ['--enable-source-maps', file], {
      cwd: root,
      // tap's own limit for the whole file, in seconds; 30 where nothing says otherwise.
      env: { ...process.env, TAP_TIMEOUT: String(FILE_LIMIT_MS / 1000) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      // tap says which test it was in when it is asked to end.
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), FILE_GRACE_MS).unref();
    }, FILE_LIMIT_MS);
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
    const ended = (problem) => {
      clearTimeout(timer);
      resolve({ lines, ms: performance.now() - start, problem });
    };
    child.on('error', (error) => ended(error.message));
    child.on('close', (status, signal) => {
      const hasPlan = lines.some((line) => /^1\.\.\d+/.test(line));
      if (late) ended(`no end within ${seconds(FILE_LIMIT_MS)}`);
      else if (status !== 0) ended(`ended with ${signal ?? status}`);
      else ended(hasPlan ? undefined : 'no result');
    });
  });
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
  let failedChecks = 0;
  if (!(await step('build', () => build(root)))) return { passed: 0, failed: 1, skipped: [] };
  if (pattern === undefined) {
    for (const [name, check] of Object.entries(CHECKS)) if (!(await step(name, check))) failedChecks += 1;
  }
  const all = filesUnder(root, 'dist/test').filter((file) => file.endsWith('.test.js'));
  const files = all.filter((file) => file.includes(pattern ?? ''));
  if (files.length === 0) {
    console.log(`not ok - no test file's path contains '${pattern ?? '.test.js'}'`);
    return { passed: 0, failed: failedChecks + 1, skipped: [] };
  }
  const start = performance.now();
  const tally = await runTests(files);
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
