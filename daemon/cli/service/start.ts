// `bmuxd start`: starts the daemon in the background, and returns when it is ready.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isHealth } from '../../api/answer-shapes.ts';
import type { Health } from '../../api/answers.ts';
import { refuseForeign } from '../../api/socket-path.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { sleep } from '../../base/async/sleep.ts';
import { settledWithin } from '../../base/async/deadline.ts';
import { errnoOf, Failure, textOf } from '../../base/failure.ts';
import { openPrivate } from '../../base/files/bounded-log-file.ts';
import { LIMITS } from '../../base/limits.ts';
import { bmuxdPaths, type Env } from '../../base/paths.ts';
import { isShortOfCpu } from '../../base/process/starved.ts';
import { fail } from '../../errors/fail.ts';
import { privateName } from '../../sockets/bind.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { AGENT_LABEL, installedService, UNIT } from './installed.ts';
import { daemonCommand } from './program.ts';
import { failedIn, isReady } from './ready.ts';

/** ms between two looks whether the start of a daemon is over. */
const LOOK_MS = 50;
/** ms that the last message of a daemon may take after its exit. */
const TOLD_MS = 1000;
/** What a disk says that takes no file: it is read-only or full. */
const TAKES_NOTHING: ReadonlySet<string | undefined> = new Set(['EROFS', 'ENOSPC', 'EDQUOT']);
/** ms between two looks whether a start that takes long gets a CPU. */
const CPU_LOOK_MS = 1000;
/** Most characters of the daemon's stderr in an error text. */
const MAX_SAID = 4000;

export const start: Run = async ({ env, cwd, out, err }) => {
  const { health, isNew } = await startDaemon(env, cwd);
  const what = isNew ? 'has started' : 'is running already';
  out(`bmuxd ${what}: ${health.state}, pid ${String(health.pid)}, log ${health.log ?? 'unknown'}\n`);
  if (health.state === 'ready') return 0;
  err('`bmuxd status` says what is missing\n');
  return 1;
};

export interface StartedDaemon {
  readonly health: Health;
  /** False when a daemon was running already. */
  readonly isNew: boolean;
}

/** Files of a daemon that was started in the background: its log, and what it says when it crashes. */
export function logFilesOf(env: Env): { readonly log: string; readonly stderr: string } {
  const { stateDir } = bmuxdPaths(env);
  return { log: join(stateDir, 'daemon.log'), stderr: join(stateDir, 'daemon.stderr') };
}

/** Resolves when the daemon of `env` is ready, whoever has started it. Rejects with `daemon_unstarted`, or as `askControl` does. */
export async function startDaemon(env: Env, cwd: string): Promise<StartedDaemon> {
  const running = await settledHealth(env);
  if (running !== undefined) return { health: running, isNew: false };
  return spawnDaemon(env, cwd, []);
}

/** Starts a daemon in the background with these options of `bmuxd run`. */
export async function spawnDaemon(env: Env, cwd: string, options: readonly string[]): Promise<StartedDaemon> {
  refuseForeign(bmuxdPaths(env).dir);
  if (await startedService(env)) {
    const health = await settledHealth(env);
    if (health !== undefined) return { health, isNew: true };
  }
  const { log, stderr } = logFilesOf(env);
  // Another start at the same time has a file of its own. The one that succeeds gets the name.
  const said = `${stderr}${privateName()}`;
  const fd = openSaid(said, log);
  const [node, ...args] = daemonCommand();
  let child: ChildProcess | undefined;
  try {
    child = spawn(node, [...args, ...options, '--log-file', log], {
      detached: true,
      cwd,
      env: withoutTargetSocket(env),
      stdio: ['ignore', 'ignore', fd ?? 'ignore', 'ipc'],
    });
    const isNew = await untilReady(child, { log, stderr: said });
    if (isNew && fd !== undefined) await rename(said, stderr);
    // Another daemon may have taken over already.
    const health = await settledHealth(env);
    if (health === undefined) throw await gone(env, log);
    return { health, isNew };
  } finally {
    // Also a daemon that is not ready goes on. Without this the command would wait for its end.
    if (child?.connected === true) child.disconnect();
    child?.unref();
    if (fd !== undefined) {
      closeSync(fd);
      await rm(said, { force: true });
    }
  }
}

/** Why no daemon answers on the control socket, though the new one has ended because another one runs. */
async function gone(env: Env, log: string): Promise<Failure> {
  const mismatch = (await pidOfInstance(env)) === undefined ? undefined : await socketMismatch(env);
  return mismatch ?? fail('daemon_unstarted', { why: 'it has ended', log });
}

/** Undefined where the disk takes no file: the daemon goes on without its log, too, and says so in its status. */
function openSaid(path: string, log: string): number | undefined {
  try {
    return openPrivate(path, 'w');
  } catch (error) {
    if (TAKES_NOTHING.has(errnoOf(error))) return undefined;
    throw fail('daemon_unstarted', { why: textOf(error), log }, error);
  }
}

/** Starts the service of this user if one is installed and has the same paths. False when there is none, or its manager cannot be asked. */
async function startedService(env: Env): Promise<boolean> {
  const installed = installedService(env);
  const hasOtherPaths = ['BMUXD_RUNTIME_DIR', 'BMUXD_SOCKET', 'BMUXD_CONFIG'].some(
    (name) => (env[name] ?? '') !== '',
  );
  if (installed === undefined || hasOtherPaths) return false;
  const { ask, systemctl } = await import('./install/manager.ts');
  const kick = ['launchctl', 'kickstart', `gui/${String(process.getuid?.() ?? 0)}/${AGENT_LABEL}`] as const;
  const { status } = await ask(env, installed.manager === 'systemd' ? systemctl('start', UNIT) : kick);
  return status === 0;
}

/** The health of the running daemon, once its start is over; undefined when none runs. */
async function settledHealth(env: Env): Promise<Health | undefined> {
  for (;;) {
    const health = await runningHealth(env);
    const isStarting =
      health?.state === 'starting' && Math.abs(Date.now() - health.sinceMs) < LIMITS.targetSocketMs;
    if (!isStarting) return health;
    await sleep(LOOK_MS);
  }
}

/** The health of the running daemon; undefined when there is none. `again`: this is the second request. */
export async function runningHealth(env: Env, again = false): Promise<Health | undefined> {
  const question = { method: 'GET', path: '/v1/health', timeoutMs: LIMITS.engineAnswerMs } as const;
  try {
    return await askControl(env, question, isHealth);
  } catch (error) {
    const code = error instanceof Failure ? error.code : undefined;
    if (code === 'daemon_not_running') return undefined;
    // It is being killed: its sockets may be there for a moment after the process is shown as dead.
    if (code === 'daemon_lost' && !again) return runningHealth(env, true);
    throw error;
  }
}

type Files = ReturnType<typeof logFilesOf>;

/** Resolves with true when the child says that it is ready, and with false when it ends because another daemon was faster, or has taken over. */
function untilReady(child: ChildProcess, files: Files): Promise<boolean> {
  const ready = new Promise<boolean>((resolve, reject) => {
    let told = '';
    const allTold = new Promise<void>((over) => {
      child.once('disconnect', over);
    });
    child.once('error', (error) => {
      reject(fail('daemon_unstarted', { why: error.message, log: files.log }, error));
    });
    child.once('exit', (status, signal) => {
      if (status === 0) resolve(false);
      const why = signal === null ? `exit status ${String(status)}` : signal;
      const text = settledWithin(allTold, TOLD_MS).then(() => told);
      unstarted(why, files, text).then((failure) => {
        if (/bmuxd is already running/.test(failure.message)) resolve(false);
        else reject(failure);
      }, reject);
    });
    child.on('message', (message) => {
      if (isReady(message)) resolve(true);
      told = failedIn(message) ?? told;
    });
  });
  return inItsTime(ready, child.pid, files);
}

/** On a machine with too much work, the start gets `LIMITS.slowStartMs`. */
async function inItsTime(ready: Promise<boolean>, pid: number | undefined, files: Files): Promise<boolean> {
  let waitedMs: number = LIMITS.startMs;
  let isOver = await settledWithin(ready, waitedMs);
  for (; !isOver && isShortOfCpu(pid) && waitedMs < LIMITS.slowStartMs; waitedMs += CPU_LOOK_MS)
    isOver = await settledWithin(ready, CPU_LOOK_MS);
  if (isOver) return ready;
  const why = `it is not ready after ${String(waitedMs)} ms`;
  throw fail('daemon_unstarted', { why, log: files.log });
}

/** `told`: what it has said on the channel. */
async function unstarted(why: string, { stderr, log }: Files, told: Promise<string>): Promise<Failure> {
  const written = (await readFile(stderr, 'utf8').catch(() => '')).trim();
  const said = (written === '' ? (await told).trim() : written).slice(-MAX_SAID);
  return fail('daemon_unstarted', { why: said === '' ? why : `${why}\n${said}`, log });
}

/**
 * `control_socket_mismatch` when BMUXD_SOCKET does not lead to the daemon of the runtime dir: a shell may have it from another daemon.
 * `pid`: the daemon that answers on the control socket of `env`, if there is one.
 */
export async function socketMismatch(env: Env, pid?: number): Promise<Failure | undefined> {
  const { dir, controlSocket: socket } = bmuxdPaths(env);
  if (socket === join(dir, 'control.sock')) return undefined;
  const own = await pidOfInstance(env);
  if (own !== undefined && own === pid) return undefined;
  return fail('control_socket_mismatch', {
    socket,
    dir,
    there: pid === undefined ? 'no daemon answers' : `the daemon with pid ${String(pid)} answers`,
    here: own === undefined ? 'is not running' : `has pid ${String(own)}`,
  });
}

async function pidOfInstance(env: Env): Promise<number | undefined> {
  return (await runningHealth({ ...env, BMUXD_SOCKET: bmuxdPaths(env).instanceSocket }))?.pid;
}
