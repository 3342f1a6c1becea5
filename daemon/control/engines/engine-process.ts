// Starts the process of an engine with its flags and environment.
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { namesIn } from '../../base/files/names-in.ts';
import { LIMITS } from '../../base/limits.ts';
import { SMALL_HEAP_FLAGS } from '../../base/process/memory.ts';
import { bmuxdPaths, isPrivateFolder, type Env } from '../../base/paths.ts';
import { programPath } from '../../base/version.ts';
import { isListening } from '../../sockets/bind.ts';
import { withoutManager } from '../service/service-manager.ts';
import { CapturedStderr } from './captured-stderr.ts';
import type { EngineProcess } from './engine-link.ts';

/** Variables that are added to the environment of an engine, unless the daemon's own environment sets them. */
const ENGINE_ENV = {
  // DNS lookups and file operations run on these threads, so a few hanging lookups must not use all of them. Node's default is 4.
  UV_THREADPOOL_SIZE: '8',
  // The iroh binding starts and ends threads. glibc keeps the memory arena of each, unless their number is limited: mallopt(3), M_ARENA_MAX.
  MALLOC_ARENA_MAX: '2',
  // Threads of the iroh binding. By default it has one for each core, and they wake up each other: an idle connection costs 3.2 wake-ups a second
  // with two, and 1.8 with one [measured].
  TOKIO_WORKER_THREADS: '1',
} as const;

/**
 * MB of each half of V8's new space. With the default of 16, a process takes 15 MB more memory. With 2, handing a stream over takes 6 %
 * more CPU time [measured].
 */
const ENGINE_FLAGS = ['--max-semi-space-size=8', ...SMALL_HEAP_FLAGS];

/** For `makeRootStore`. Node does not start with two such options, and a variable stands for one of them. */
const OPENSSL_ROOTS = '--use-openssl-ca';
const ROOTS_GIVEN = /--use[-_]\w+[-_]ca\b/;

/** Newer versions of Node have it. It closes the time before the engine's own handler, in which SIGUSR1 would open a debugger. */
const NO_DEBUGGER = '--disable-sigusr1';

/**
 * Starts an engine process, which waits for its `start` message. `env`: the daemon's own environment. `stderr`: descriptor of a file for
 * messages at a crash. When the process cannot be started, this throws or the returned process emits 'error'.
 */
export function forkEngine(env: Env, stderr: number | 'ignore'): ChildProcess {
  const given = [...process.execArgv, env['NODE_OPTIONS'] ?? ''].join(' ');
  const hasRoots = ROOTS_GIVEN.test(given) || env['NODE_USE_SYSTEM_CA'] === '1';
  const openSslRoots = hasRoots ? [] : [OPENSSL_ROOTS];
  const noDebugger = process.allowedNodeEnvironmentFlags.has(NO_DEBUGGER) ? [NO_DEBUGGER] : [];
  return fork(programPath('engine'), [], {
    // The engine runs in its own session. Ctrl-C and the end of the terminal reach control only, and streams go on.
    detached: true,
    stdio: ['ignore', 'ignore', stderr, 'ipc'],
    // When a flag is given twice, the last one counts.
    execArgv: [...process.execArgv, ...ENGINE_FLAGS, ...openSslRoots, ...noDebugger],
    cwd: '/',
    env: { ...ENGINE_ENV, ...env },
  });
}

/**
 * Starts the process of the first engine before the modules of control are loaded. Where the folder of its stderr is not there yet, it is
 * started when it is known that this daemon may make it. `env`: the daemon's own environment. `replaces`: whether this daemon takes over from
 * one that runs.
 */
export async function startEarly(env: Env, replaces: boolean): Promise<EarlyProcess> {
  const { stateDir, enginesDir } = bmuxdPaths(env);
  const captured = new CapturedStderr(stateDir);
  const early = new EarlyProcess(() => captured.lend((stderr) => forkEngine(withoutManager(env), stderr)));
  // Clients wait for control alone then. With a second process that starts beside it, they wait a fifth longer [measured].
  if (!replaces && (await hasEngine(enginesDir))) early.putOff();
  else if (isPrivateFolder(stateDir)) early.start();
  return early;
}

/** Whether the latest engine of a former control process runs: it accepts streams until another one takes over. */
async function hasEngine(dir: string): Promise<boolean> {
  const latest = (namesIn(dir) ?? [])
    .filter((name) => name.endsWith('.sock'))
    .sort()
    .at(-1);
  return latest !== undefined && isListening(join(dir, latest), LIMITS.engineAnswerMs);
}

/**
 * The process of the first engine, started early: Node and the engine's modules load while control gets ready. It waits for its `start`
 * message, and ends when the channel closes.
 */
export class EarlyProcess {
  readonly #fork: () => EngineProcess;
  /** Or put off. */
  #isStarted = false;
  #process: EngineProcess | undefined;

  constructor(fork: () => EngineProcess) {
    this.#fork = fork;
  }

  /** Lets the first engine be started when it is wanted, and not before. */
  putOff(): void {
    this.#isStarted = true;
  }

  /** Does nothing a second time. When it cannot be started, the first engine is started without it, and that start tells the reason. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    let process: EngineProcess;
    try {
      process = this.#fork();
    } catch {
      return;
    }
    this.#process = process;
    const forget = (): void => {
      if (this.#process === process) this.#process = undefined;
    };
    process.on('error', forget);
    process.once('exit', forget);
  }

  /** Returns the process once; undefined when there is none, or when it has ended. */
  take(): EngineProcess | undefined {
    const process = this.#process;
    this.#process = undefined;
    return process;
  }

  /** Ends the process if it has not been taken. */
  kill(): void {
    this.take()?.kill('SIGKILL');
  }
}
