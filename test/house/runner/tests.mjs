// Runs test files, each as a TAP program of its own. tap's own runner is not used: it loads a module into every Node process that a test starts.
// Daemons and shims would then start later and handle signals differently.
import { spawn } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { Tally } from './tally.mjs';

/** Jobs at the same time. With more, the processors are busy all the time: the run is no shorter, and each test waits for the others. */
const JOBS = 2 * availableParallelism() + 1;
/** Jobs at the same time at most, while the processors are idle: many tests wait most of the time. */
const MOST_JOBS = 2 * JOBS;
/** ms between two looks at the processors, and the idle part of their time with which one more job is started. */
const [LOOK_MS, IDLE] = [2000, 0.25];
/** Time limit for one test file: four times what the slowest takes. Tests have deadlines of their own; this limit only ends a file that hangs. */
const FILE_LIMIT_MS = 400_000;
const FILE_GRACE_MS = 5000;

/** Runs `files` in `root`; `first` is the first job. Failures are passed to `say`. Resolves with the tally when all jobs have ended. */
export async function runTests(files, { root, say, first }) {
  const tally = new Tally(say);
  let number = 0;
  const test = async (file) => {
    const { lines, ms, problem } = await runFile(root, file);
    number += 1;
    tally.line(`# Subtest: ${file}`);
    for (const line of lines) tally.line(`    ${line}`);
    if (problem !== undefined) say(`${file}: ${problem}`);
    tally.line(`${problem === undefined ? 'ok' : 'not ok'} ${number} - ${file} # time=${ms}ms`);
  };
  const waiting = [first, ...files.map((file) => () => test(file))];
  const running = new Set();
  const worker = async () => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) await job();
  };
  const work = (run) => {
    const over = run().finally(() => running.delete(over));
    running.add(over);
  };
  let before = cpuTime();
  const look = setInterval(() => {
    const now = cpuTime();
    const idle = (now.idle - before.idle) / (now.all - before.all);
    before = now;
    const job = idle > IDLE && running.size < MOST_JOBS ? waiting.shift() : undefined;
    if (job !== undefined) work(job);
  }, LOOK_MS);
  for (let count = 0; count < JOBS; count += 1) work(worker);
  while (running.size > 0) await Promise.all(running);
  clearInterval(look);
  return tally;
}

/** What the processors have had so far, and the idle part of it, ms. */
function cpuTime() {
  const times = cpus().map(({ times }) => times);
  const idle = times.reduce((sum, one) => sum + one.idle, 0);
  return {
    idle,
    all: times.reduce((sum, one) => sum + one.user + one.nice + one.sys + one.irq + one.idle, 0),
  };
}

/** Runs one test file. Resolves with its TAP lines, its duration, and the problem when it did not end properly. */
function runFile(root, file) {
  const start = performance.now();
  return new Promise((resolve) => {
    const lines = [];
    const child = spawn(
      process.execPath,
      ['--enable-source-maps', '--disable-warning=ExperimentalWarning', file],
      {
        cwd: root,
        // tap's own limit for the whole file, in seconds; the default is 30.
        env: {
          ...process.env,
          TAP_TIMEOUT: String(FILE_LIMIT_MS / 1000),
          BMUXD_TEST_CODE: join(root, 'dist', 'compiled-code'),
        },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      // On SIGTERM tap says which test was running.
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
      if (late) ended(`no end within ${FILE_LIMIT_MS} ms`);
      else if (status !== 0) ended(`ended with ${signal ?? status}`);
      else ended(hasPlan ? undefined : 'no result');
    });
  });
}
