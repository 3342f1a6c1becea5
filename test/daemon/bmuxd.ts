// The real daemon as a fixture: its two processes in temporary folders, its commands, its shim and its library.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStream, type OpenedStream, type OpenStreamOptions } from '../../client-shim/index.ts';
import type { EngineStatus, UpstreamRow, Status } from '../../daemon/api/answers.ts';
import { startChild, waitFor, type Child } from '../real/child.ts';
import { realEnv, run as runProgram, type Ran } from '../real/server.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { isListening } from '../../daemon/sockets/bind.ts';
import { keepCode, takeCode } from './compiled-code.ts';
import { PassedSockets } from './passed-sockets.ts';

export interface BmuxdOptions {
  /** Text of bmux.toml. */
  readonly config?: string;
  /** Text of bmuxd.toml. */
  readonly settings?: string;
  /** Another file than `BMUXD`, as of a copy of the package. */
  readonly program?: string;
  /** Overrides variables of the fixture's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folders of another fixture, for a second daemon beside or after the first. */
  readonly sandbox?: Sandbox;
  /** Logs with the default level, not the debug level; for the bench. */
  readonly usualLog?: boolean;
  /** This process is its service manager, which holds the sockets and passes them. */
  readonly isActivated?: boolean;
}

/** The folders and the environment of a daemon and its callers. */
export interface Sandbox {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly socketPath: string;
  /** Path of the streams socket. */
  readonly streamsPath: string;
  /** Replaces a file of the config dir (bmux.toml, slots.toml, base.toml). */
  configure(name: string, text: string): Promise<void>;
  remove(): Promise<void>;
}

export interface Bmuxd extends Sandbox {
  readonly pid: number;
  /** What this process holds with `isActivated`. */
  readonly passed: PassedSockets | undefined;
  /** stderr of control so far: JSON lines, including those of its engines. */
  log(): string;
  /** The status when all engines have answered. A single `GET /v1/status` does not wait for an engine that is late. */
  status(): Promise<Status>;
  /** The current rows of all engines. The rows of a status may be up to 3 s old. */
  upstreams(): Promise<UpstreamRow[]>;
  /** Waits for a serving engine and returns its pid. */
  enginePid(): Promise<number>;
  /** Names of the sockets of all engines, one for each generation. */
  engines(): Promise<string[]>;
  /** Runs `bmuxd` to its end. */
  bmuxd(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ran>;
  /** Runs `bmux-stream` to its end, with `input` on stdin. */
  shim(args: readonly string[], input?: Uint8Array, env?: Readonly<Record<string, string>>): Promise<ShimRan>;
  /** Starts `bmux-stream` without waiting for its end. */
  spawnShim(args: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess;
  /** Opens a stream with the library. */
  open(options?: OpenStreamOptions): Promise<OpenedStream>;
  http(method: string, path: string, headers?: Readonly<Record<string, string>>): Promise<HttpAnswer>;
  /** Sends a signal to control. */
  signal(signal: NodeJS.Signals): void;
  /** Sends SIGTERM and waits until control has exited. Its engines may go on. */
  leave(): Promise<void>;
  /** Kills only control, with SIGKILL. */
  killControl(): Promise<void>;
  /** Runs `bmuxd stop`, then removes the folders unless another fixture owns them. Calling twice is safe. */
  stop(): Promise<void>;
}

interface HttpAnswer {
  readonly status: number;
  readonly type: string;
  /** The header Allow. */
  readonly allow: string;
  readonly body: unknown;
}

/** ms that an engine may be late with its answer to a status. */
const LATE_MS = 3000;

export interface ShimRan {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** The folder that this test was built into: `dist`, or another one beside it. */
const dist = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const BMUXD = dist('daemon/bin/bmuxd.cjs');
export const SHIM = dist('client-shim/bmux-stream.cjs');

/** Makes folders for a daemon. Its config may be written before and after it starts. */
export async function makeSandbox(options: BmuxdOptions = {}): Promise<Sandbox> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  const bmux = await realEnv(folder);
  await mkdir(join(folder, 'settings'), { mode: 0o700 });
  const env = {
    ...bmux,
    BMUXD_RUNTIME_DIR: join(folder, 'd'),
    BMUXD_CONFIG: join(folder, 'settings', 'bmuxd.toml'),
    XDG_STATE_HOME: join(folder, 'xdg-state'),
    ...options.env,
  };
  await takeCode(env);
  /** Replaces the file in one step, so that the daemon never reads an incomplete one. */
  const configure = async (name: string, text: string): Promise<void> => {
    const path = join(bmux['BMUX_CONFIG_DIR'] ?? folder, name);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  };
  if (options.config !== undefined) await configure('bmux.toml', options.config);
  await writeFile(join(folder, 'settings', 'bmuxd.toml'), options.settings ?? '');
  return {
    folder,
    env,
    socketPath: join(folder, 'd', 'control.sock'),
    streamsPath: join(folder, 'd', 'streams.sock'),
    configure,
    remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Starts the daemon and waits until it and its engine are ready. */
export async function startBmuxd(options: BmuxdOptions = {}): Promise<Bmuxd> {
  const sandbox = options.sandbox ?? (await makeSandbox(options));
  const { env, socketPath, folder } = sandbox;
  const { program = BMUXD } = options;
  const passed = options.isActivated === true ? await PassedSockets.hold(sandbox) : undefined;
  // The same option as in the service units.
  const args = ['--max-semi-space-size=2', program, 'run'];
  if (options.usualLog !== true) args.push('--log-level', 'debug');
  const child: Child = await startChild({
    ...(passed?.pass(args, env) ?? { command: process.execPath, args, env }),
    ready: (output) => output.includes('"streams are accepted"'),
  });
  const command = (args: readonly string[], extra: Readonly<Record<string, string>> = {}): Promise<Ran> =>
    runProgram(process.execPath, [program, ...args], { ...env, ...extra });
  const spawnShim = (args: readonly string[], extra: Readonly<Record<string, string>> = {}): ChildProcess =>
    spawn(process.execPath, [SHIM, ...args], { env: { ...env, ...extra }, stdio: ['pipe', 'pipe', 'pipe'] });
  const engines = async (): Promise<string[]> =>
    (await readdir(join(folder, 'd', 'engines')).catch(() => [])).filter((name) =>
      /^[a-z0-9]+\.sock$/.test(name),
    );
  const http: Bmuxd['http'] = (method, path, headers) => httpOver(socketPath, method, path, headers);
  const status = async (): Promise<Status> => {
    const until = performance.now() + LATE_MS;
    for (;;) {
      const answer = await http('GET', '/v1/status');
      if (answer.status !== 200) throw new Error(`no status: ${JSON.stringify(answer.body)}`);
      const now = answer.body as Status;
      const late = now.engines.some(({ state }) => state === 'not answering');
      if (!late || performance.now() > until) return now;
      await sleep(20);
    }
  };
  let stopped: Promise<void> | undefined;
  return {
    ...sandbox,
    pid: child.pid,
    passed,
    log: () => child.output(),
    status,
    upstreams: async () => {
      const asked = (await engines()).map(async (name) => {
        const { body } = await httpOver(join(folder, 'd', 'engines', name), 'GET', '/v1/engine');
        // An engine that ends just now answers with a failure.
        return (body as Partial<EngineStatus>).upstreams ?? [];
      });
      return (await Promise.all(asked)).flat();
    },
    enginePid: async () => {
      let serving: number | undefined;
      await waitFor('an engine that serves', async () => {
        serving = (await status()).engines.find(({ state, pid }) => state === 'serving' && pid > 0)?.pid;
        return serving !== undefined;
      });
      return serving ?? NaN;
    },
    engines,
    bmuxd: command,
    shim: (args, input, extra) => collect(spawnShim(args, extra), input),
    spawnShim,
    open: (asked = {}) => openStream({ env, socketPath, timeoutMs: 60_000, ...asked }),
    http,
    signal: (signal) => {
      process.kill(child.pid, signal);
    },
    leave: () => child.stop('SIGTERM'),
    killControl: () => child.stop('SIGKILL'),
    stop: () => {
      stopped ??= (async () => {
        // Another daemon may have taken over from this one.
        const isThere = !child.exited() || (await isListening(socketPath, 1000));
        // As `bmuxd stop` does, without a process for it.
        const isTold = isThere && (await tellToStop(socketPath));
        if (isTold && !child.exited()) await child.stop('none', 30_000);
        else if (isTold && passed === undefined)
          await waitFor('the daemon to end', async () => !(await isListening(socketPath, 1000)));
        await child.stop('SIGTERM', 10_000);
        // Engines whose control has exited or was killed go on with their streams, so they are stopped here.
        for (const name of await engines())
          await httpOver(join(folder, 'd', 'engines', name), 'POST', '/v1/stop').catch(() => undefined);
        await waitFor('all engines to exit', async () => (await engines()).length === 0).catch(
          () => undefined,
        );
        passed?.close();
        if (options.program === undefined) await keepCode(env);
        if (options.sandbox === undefined) await sandbox.remove();
      })();
      return stopped;
    },
  };
}

/** False when no daemon answers on `socketPath`. */
async function tellToStop(socketPath: string): Promise<boolean> {
  const answer = await httpOver(socketPath, 'POST', '/v1/stop', {}, 10_000).catch(() => undefined);
  return answer !== undefined && answer.status < 300;
}

/** One request over a Unix socket. */
function httpOver(
  socketPath: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  timeout = 60_000,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers, agent: false, timeout }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => {
        const type = response.headers['content-type'] ?? '';
        const body: unknown = text === '' ? undefined : type.includes('json') ? JSON.parse(text) : text;
        const { allow = '' } = response.headers;
        resolve({ status: response.statusCode ?? 0, type, allow, body });
      });
    });
    call.on('timeout', () => call.destroy(new Error('no answer within 10 s')));
    call.on('error', reject);
    call.end();
  });
}

/** Resolves with everything that a shim prints until it exits, within 60 s. */
export function collect(child: ChildProcess, input?: Uint8Array): Promise<ShimRan> {
  return new Promise((resolve) => {
    const out: Buffer[] = [];
    let err = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => {
      err += chunk.toString('utf8');
    });
    child.stdin?.on('error', () => undefined);
    child.once('close', (status) => {
      clearTimeout(timer);
      resolve({ status, stdout: Buffer.concat(out), stderr: err });
    });
    child.stdin?.end(input);
  });
}
