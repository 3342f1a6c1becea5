// Starts: the commands that people type, the shell function of `bmuxd shell-init`, and the daemon until it is ready.
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { httpRequest } from '../../../daemon/sockets/http-request.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { codeDirOf, type Env } from '../../../daemon/base/paths.ts';
import { startBmuxd } from '../../../test/daemon/bmuxd.ts';
import { waitFor } from '../../../test/real/index.ts';
import { Skip, type Bench, type Goal, type Measure } from '../../measure.ts';
import { SETTINGS, startFar } from '../../rig/far.ts';
import { baseEnv } from '../../rig/processes.ts';
import { runToEnd } from '../../rig/programs.ts';

const BMUXD = fileURLToPath(new URL('../../../daemon/bin/bmuxd.cjs', import.meta.url));
const BARE = 'node -e 0';

const QUICK: Goal = { text: '<= bare node + 15 ms', met: ({ added }) => added.median <= 15 };
const SMALL: Goal = { text: '< 2 ms added', met: ({ added }) => added.median < 2 };
const READY: Goal = {
  text: '< 400 ms + twice a bare Node',
  met: ({ ours, peer }) => ours.median < 400 + 2 * peer.median,
};

/** Waits until a daemon has kept what Node has compiled of it, as one has that has run for a while. */
async function untilCompiled(env: Env): Promise<void> {
  await waitFor('compiled code', async () =>
    (await readdir(codeDirOf(env)).catch(() => [])).some((name) => name.includes('-engine-')),
  );
}

async function commands(bench: Bench): Promise<void> {
  const far = bench.own('far end', await startFar({ way: 'TLS plain', embedded: true }));
  const daemon = bench.own(
    'daemon',
    await startBmuxd({ usualLog: true, config: far.config, settings: SETTINGS, env: far.env }),
  );
  await daemon.bmuxd(['warm', far.target]);
  await untilCompiled(daemon.env);
  await daemon.bmuxd(['env', far.target]);
  const lines: readonly (readonly [string, readonly string[]])[] = [
    ['--version', ['--version']],
    ['status', ['status']],
    ['env', ['env', far.target]],
    ['exec', ['exec', far.target, '--', 'true']],
  ];
  for (const [name, args] of lines)
    await bench.compare(
      `bmuxd ${name}, spawn to exit`,
      'ms',
      bench.count(40, 5),
      [
        { name: `bmuxd ${name}`, once: () => runToEnd(BMUXD, args, daemon.env) },
        { name: BARE, once: () => runToEnd(process.execPath, ['-e', '0'], daemon.env) },
      ],
      { goals: { [BARE]: QUICK } },
    );
}

/** Calls `$1` often, and prints the µs of one call. The function and the program are compared in one shell. */
const LOOP = `
eval "$("$BMUXD" shell-init bash)"
loop() {
  local since=$EPOCHREALTIME i
  for ((i = 0; i < 50; i++)); do "$@" list-sessions >/dev/null; done
  local until=$EPOCHREALTIME
  echo $((\${until/./} - \${since/./}))
}
while read -r; do
  if [ "$REPLY" = function ]; then loop bmux; else loop command bmux; fi
done`;
const CALLS = 50;

async function shellFunction(bench: Bench): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-shell-'));
  bench.own('folder', { stop: () => rm(folder, { recursive: true, force: true }) });
  const far = bench.own('far end', await startFar({ way: 'TLS plain', embedded: true }));
  const daemon = bench.own(
    'daemon',
    await startBmuxd({ usualLog: true, config: far.config, settings: SETTINGS, env: far.env }),
  );
  await daemon.bmuxd(['env', far.target]);
  // A program that does nothing stands for bmux: what the function adds does not depend on it.
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin', 'bmux'), '#!/bin/sh\n');
  await chmod(join(folder, 'bin', 'bmux'), 0o755);
  const env = {
    ...daemon.env,
    PATH: `${join(folder, 'bin')}:${baseEnv()['PATH'] ?? ''}`,
    BMUXD,
    BMUX_TARGET: far.target,
  };
  const shell = spawn('bash', ['--norc', '-c', LOOP], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  shell.on('error', () => undefined);
  bench.own('shell', {
    stop: () => {
      shell.kill('SIGKILL');
      return Promise.resolve();
    },
  });
  const ask = (what: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const gone = (): void => {
        reject(new Skip('bash 5 not found'));
      };
      shell.once('exit', gone);
      shell.stdout.once('data', (line: Buffer) => {
        shell.off('exit', gone);
        resolve(Number(line.toString('utf8')) / 1000 / CALLS);
      });
      shell.stdin.write(`${what}\n`);
    });
  const program = 'a program that does nothing';
  await bench.compare(
    'function of shell-init, remote target',
    'ms',
    bench.count(20, 3),
    [
      { name: 'bmux, the function', once: () => ask('function') },
      { name: program, once: () => ask('program') },
    ],
    { goals: { [program]: SMALL } },
  );
}

/** ms between two questions whether the daemon is ready. */
const LOOK_MS = 5;
const READY_MS = 30_000;

async function ready(bench: Bench): Promise<void> {
  // Another daemon beside it has made the folders and the files of state.
  const first = await startBmuxd({ usualLog: true, settings: SETTINGS });
  const { env, socketPath } = first;
  bench.own('folders', first);
  await first.bmuxd(['stop']);
  /** ms until it is ready. It is stopped when `before` is over. */
  const once = async (before: () => Promise<unknown>): Promise<number> => {
    const since = performance.now();
    const child = spawn(BMUXD, ['run'], { env, stdio: 'ignore' });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    try {
      while (!(await isReady(socketPath))) {
        if (performance.now() - since > READY_MS) throw new Error('the daemon does not get ready');
        await sleep(LOOK_MS);
      }
      const ms = performance.now() - since;
      await before();
      return ms;
    } finally {
      await runToEnd(BMUXD, ['stop'], env);
      await gone;
    }
  };
  // Compiled code is kept for each set of Node's flags, so a daemon with the same ones has run for a while.
  await once(() => untilCompiled(env));
  await bench.compare(
    'bmuxd run, spawn to ready',
    'ms',
    bench.count(20, 3),
    [
      { name: 'bmuxd run', once: () => once(() => Promise.resolve()) },
      { name: BARE, once: () => runToEnd(process.execPath, ['-e', '0'], env) },
    ],
    { goals: { [BARE]: READY } },
  );
}

async function isReady(socketPath: string): Promise<boolean> {
  const question = { socketPath, method: 'GET', path: '/v1/health/ready', timeoutMs: 1000 } as const;
  return httpRequest(question).then(
    ({ status }) => status === 200,
    () => false,
  );
}

export const starts: Measure = {
  name: 'starts',
  about: 'starts of commands beside bare Node, the function of shell-init, the daemon from spawn to ready',
  run: async (bench) => {
    await bench.part('commands', () => commands(bench));
    await bench.part('shell function', () => shellFunction(bench));
    await bench.part('ready', () => ready(bench));
  },
};
