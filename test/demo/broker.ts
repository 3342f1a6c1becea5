// The demo's own bmuxd: the real program with its two processes, in folders under the temp dir, so that the user's own is never touched.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ENV_WHITELIST } from '../../daemon/api/caller-env.ts';
import { BMUXD, SHIM, type BmuxdHome } from '../daemon/bmuxd.ts';
import { run, type Ran } from '../real/server.ts';

/** Seconds the daemon may take to be ready; it takes 0.3. */
const READY_S = 20;
/** ms it may take to leave after `bmuxd stop`, which itself waits for its end. */
const LEAVE_MS = 10_000;

export interface Broker {
  /** Sourced by a shell, it makes `bmuxd` and `bmux-stream` those of the demo. */
  readonly envFile: string;
  readonly logFile: string;
  /** Ends every stream gracefully, then both processes. */
  stop(): Promise<void>;
}

/** Starts the daemon with what lies in `home` and waits until it is ready. Rejects with its own words when it is not. */
export async function startBroker(home: BmuxdHome, settings: string): Promise<Broker> {
  const { env, folder } = home;
  const envFile = await writeEnvFile(home);
  const logFile = join(folder, 'bmuxd.log');
  await writeFile(env['BMUXD_CONFIG'] ?? '', settings);
  const log = await open(logFile, 'a', 0o600);
  const child = spawn(process.execPath, [BMUXD, 'run'], { env, stdio: ['ignore', 'ignore', log.fd] });
  const exited = exitOf(child);
  await log.close();
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) await bmuxd(env, ['stop']);
    const timer = setTimeout(() => child.kill('SIGKILL'), LEAVE_MS);
    await exited;
    clearTimeout(timer);
  };
  const ready = await bmuxd(env, ['status', '--wait', String(READY_S)]);
  if (ready.status !== 0) {
    await stop();
    const said = await readFile(logFile, 'utf8').catch(() => '');
    throw new Error(`bmuxd did not become ready:\n${ready.stdout}${ready.stderr}${said.slice(-4000)}`);
  }
  return { envFile, logFile, stop };
}

/** Runs `bmuxd` to its end. */
export function bmuxd(env: Readonly<Record<string, string>>, args: readonly string[]): Promise<Ran> {
  return run(process.execPath, [BMUXD, ...args], env);
}

function exitOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.once('error', () => {
      resolve();
    });
  });
}

/** The environment for a person's shell: our folders, our two commands, and none of the person's own bmux settings. */
async function writeEnvFile({ env, folder }: BmuxdHome): Promise<string> {
  const bin = join(folder, 'bin');
  await mkdir(bin);
  for (const [name, script] of [
    ['bmuxd', BMUXD],
    ['bmux-stream', SHIM],
  ] as const) {
    await writeFile(join(bin, name), `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(script)} "$@"\n`);
    await chmod(join(bin, name), 0o755);
  }
  const ours = Object.entries(env).filter(([name]) => name.startsWith('BMUX'));
  const named = new Set(ours.map(([name]) => name));
  const foreign = [...ENV_WHITELIST, 'BMUXD_SOCKET'].filter(
    (name) => name.startsWith('BMUX') && !named.has(name),
  );
  const envFile = join(folder, 'env');
  await writeFile(
    envFile,
    [
      `unset ${foreign.join(' ')}`,
      ...ours.map(([name, value]) => `export ${name}=${quoted(value)}`),
      `export PATH=${quoted(bin)}:"$PATH"`,
      '',
    ].join('\n'),
  );
  return envFile;
}

/** One word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
