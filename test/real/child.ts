// A program that a test starts: detects readiness, ends gracefully, and never outlives the test process.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, createServer, type NetConnectOpts } from 'node:net';
import { constants } from 'node:os';
import { settledWithin } from '../../daemon/base/async/deadline.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';

/** How to start a program. */
export interface ChildSpec {
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of the test's own environment is passed on. */
  readonly env: Readonly<Record<string, string>>;
  /** Called about every 20 ms and after each output, with all output so far; true when the program is ready. */
  readonly ready: (output: string) => boolean | Promise<boolean>;
  /** Descriptors of this process that the program gets, from 3 on. */
  readonly fds?: readonly number[];
  /** Time limit for readiness; default 60 s. */
  readonly readyMs?: number;
}

export interface Child {
  readonly pid: number;
  /** stdout and stderr so far, the last 256 KiB. */
  output(): string;
  exited(): boolean;
  /**
   * Sends `signal` (none: only waits), waits up to `ms`, then sends SIGKILL. Rejects when a process that it has started is left and keeps its output
   * open. Calling twice is safe.
   */
  stop(signal?: NodeJS.Signals | 'none', ms?: number): Promise<void>;
}

const OUTPUT_MAX = 262_144;
/** ms that processes which a program has started may outlive it. */
const LEFT_MS = 30_000;
/** Signals that end a test process from outside: from a runner's time limit or a terminal. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Waits until `condition` holds; rejects after `ms` with an error that names `what`. */
export async function waitFor(
  what: string,
  condition: () => boolean | Promise<boolean>,
  ms = 60_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${String(ms)} ms for ${what}`);
    await sleep(20);
  }
}

/** True while there is a process with this id. */
export function isAlive(pid: number): boolean {
  // 0 is this test's own process group, which exists and which no test wants to end.
  if (pid <= 0) throw new Error(`${String(pid)} is no process`);
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Sends SIGSTOP and waits until it has taken effect: on a busy machine the threads keep running, and answering, for a while. */
export async function halt(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await waitFor(`process ${String(pid)} to stand still`, () => isHalted(pid));
}

function isHalted(pid: number): boolean {
  if (!existsSync('/proc/self'))
    return spawnSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).stdout.startsWith('T');
  const threads = `/proc/${String(pid)}/task`;
  try {
    return readdirSync(threads).every((thread) =>
      /\) T /.test(readFileSync(`${threads}/${thread}/stat`, 'utf8')),
    );
  } catch {
    // The thread has just ended.
    return false;
  }
}

/** The programs that run. A test that dies must not leave them running; only these are killed. */
const running = new Set<ChildProcess>();

function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** A signal alone runs no exit handlers, so it is turned into an exit. */
function exitBy(signal: NodeJS.Signals): void {
  process.exit(128 + (constants.signals[signal] ?? 15));
}

function hold(child: ChildProcess): void {
  if (running.size === 0) {
    process.on('exit', killAll);
    for (const signal of SIGNALS) process.on(signal, exitBy);
  }
  running.add(child);
}

function release(child: ChildProcess): void {
  if (!running.delete(child) || running.size > 0) return;
  process.off('exit', killAll);
  for (const signal of SIGNALS) process.off(signal, exitBy);
}

/** What a process has as stdout and stderr, on Linux. */
function outputsOf(pid: number | undefined): string[] {
  return [1, 2].flatMap((fd) => ifThere(() => readlinkSync(`/proc/${String(pid)}/fd/${String(fd)}`)));
}

/** The processes that have one of `outputs` open, with their command lines. */
function holdersOf(outputs: readonly string[]): string[] {
  if (!existsSync('/proc/self')) return ['one that cannot be named without /proc'];
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && outputsOf(Number(pid)).some((link) => outputs.includes(link)))
    .flatMap((pid) =>
      ifThere(() => `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`),
    );
}

/** Nothing of a process that has just ended. */
function ifThere(read: () => string): string[] {
  try {
    return [read()];
  } catch {
    return [];
  }
}

/** Starts a program and waits until it is ready. */
export async function startChild(spec: ChildSpec): Promise<Child> {
  const child: ChildProcess = spawn(spec.command, spec.args, {
    env: spec.env,
    stdio: ['ignore', 'pipe', 'pipe', ...(spec.fds ?? [])],
  });
  const outputs = outputsOf(child.pid);
  let output = '';
  let over = false;
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-OUTPUT_MAX);
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  hold(child);
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => {
      resolve();
    });
    child.once('error', () => {
      resolve();
    });
  });
  const end = new Promise<void>((resolve) => {
    const finish = (): void => {
      over = true;
      release(child);
      resolve();
    };
    child.once('exit', finish);
    child.once('error', (error) => {
      output += error.message;
      finish();
    });
  });
  const stop = async (signal: NodeJS.Signals | 'none' = 'SIGTERM', ms = 10_000): Promise<void> => {
    if (over) return;
    if (signal !== 'none') child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), ms);
    await end;
    clearTimeout(timer);
    // Without it a process that is left would keep this one from ending, and nobody would know which.
    if (await settledWithin(closed, LEFT_MS)) return;
    const left = holdersOf(outputs).join('\n');
    child.stdout?.destroy();
    child.stderr?.destroy();
    throw new Error(`${spec.command} has left processes:\n${left}`);
  };
  try {
    await waitFor(
      `${spec.command} ${spec.args.join(' ')}`,
      async () => {
        if (over) throw new Error(`${spec.command} ended before it was ready:\n${output}`);
        return spec.ready(output);
      },
      spec.readyMs,
    );
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  }
  return { pid: child.pid ?? -1, output: () => output, exited: () => over, stop };
}

/** Returns a TCP port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => {
        resolve(port);
      });
    });
  });
}

/** True when a program accepts connections there. */
export function accepts(at: NetConnectOpts): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(at);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
