// The demo's own bmuxd: the real program with its two processes, in folders under the temp dir. The user's own daemon is never touched.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ENV_WHITELIST } from '../../daemon/api/caller-env.ts';
import { BMUXD, SHIM, type Sandbox } from '../daemon/bmuxd.ts';
import { run, type Ran } from '../real/server.ts';

/** Time limit for the daemon to be ready, s; it takes 0.3. */
const READY_S = 20;
/** Time limit for its exit after `bmuxd stop`, which itself waits for the exit, ms. */
const LEAVE_MS = 10_000;

export interface Broker {
  /** A shell that sources it gets `bmuxd` and `bmux-stream` of the demo. */
  readonly envFile: string;
  readonly logFile: string;
  /** Ends every stream gracefully, then both processes. */
  stop(): Promise<void>;
}

/** Starts the daemon with the files in `home` and waits until it is ready. On failure it rejects with the daemon's own output. */
export async function startBroker(sandbox: Sandbox, settings: string): Promise<Broker> {
  const { env, folder } = sandbox;
  const envFile = await writeEnvFile(sandbox);
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

/** Runs `bmuxd` until it exits. */
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

/** The environment for the user's shell: our folders, our two commands, and no bmux settings of the user. */
async function writeEnvFile({ env, folder }: Sandbox): Promise<string> {
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

/** Quotes one word for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
