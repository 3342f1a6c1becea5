// A real bmux server in its own folders, and the number of its 64 connections in use.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, startChild, waitFor } from './child.ts';
import { onPath, realBmux } from './find.ts';

/** Output and exit status of one command. */
export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running server. Everything it writes is in `folder`, which `stop()` removes. */
export interface RealServer {
  readonly folder: string;
  /** Environment of a client of this server: BMUX_* folders, HOME, PATH, TMPDIR. */
  readonly env: Readonly<Record<string, string>>;
  readonly socketPath: string;
  readonly pid: number;
  /** Runs `bmux` with `env`, overridden by `extra`, at most 20 s. */
  bmux(args: readonly string[], extra?: Readonly<Record<string, string>>): Promise<Ran>;
  /** Runs `bmux server stop`, then waits for the process. Calling twice is safe. */
  stop(): Promise<void>;
}

/** The path of bmux, or an error: call `realBmux()` first and skip. */
export function bmuxOrThrow(): string {
  const path = realBmux();
  if (path === undefined) throw new Error('real bmux not found: skip this test');
  return path;
}

/** Makes the folders of one real program under `folder`, and the environment that names them. */
export async function realEnv(folder: string): Promise<Record<string, string>> {
  const names = ['run', 'config', 'data', 'state', 'home', 'tmp'] as const;
  for (const name of names) await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: join(folder, 'home'),
    TMPDIR: join(folder, 'tmp'),
    BMUX_RUNTIME_DIR: join(folder, 'run'),
    BMUX_CONFIG_DIR: join(folder, 'config'),
    BMUX_DATA_DIR: join(folder, 'data'),
    BMUX_STATE_DIR: join(folder, 'state'),
  };
}

/** Runs a program until it exits, at most `limitMs`: it gets a SIGTERM then. */
export function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  limitMs = 60_000,
): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, args, { env, timeout: limitMs, maxBuffer: 8 << 20 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      resolve({ status, stdout, stderr });
    });
  });
}

/** Starts a real server. */
export async function startServer(): Promise<RealServer> {
  const program = bmuxOrThrow();
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-real-'));
  const env = await realEnv(folder);
  const socketPath = join(folder, 'run', 'server.sock');
  const child = await startChild({
    command: program,
    args: ['server', 'start'],
    env,
    ready: () => accepts({ path: socketPath }),
  });
  const server: RealServer = {
    folder,
    env,
    socketPath,
    pid: child.pid,
    bmux: (args, extra = {}) => run(program, args, { ...env, ...extra }),
    stop: async () => {
      if (!child.exited()) await server.bmux(['server', 'stop']);
      await child.stop('none');
      await rm(folder, { recursive: true, force: true });
    },
  };
  // The readiness probe above was a client too. Its connection must be closed before a test counts connections.
  if (canCountConnections())
    await waitFor('the readiness probe to leave', async () => (await connectionsHeld(server)) === 0);
  return server;
}

/** Whether `connectionsHeld` works here: it needs Linux with `ss`. */
export function canCountConnections(): boolean {
  return process.platform === 'linux' && onPath('ss') !== undefined;
}

/**
 * Returns how many connections the server holds now, including those of gateways. A connection of its plugins to their own server is not
 * counted, because it comes and goes by itself. Needs `ss` (see `canCountConnections`).
 */
export async function connectionsHeld(server: RealServer): Promise<number> {
  const { stdout } = await run('ss', ['-xnpH', 'state', 'established'], { PATH: process.env['PATH'] ?? '' });
  const rows = stdout.split('\n').map((line) => {
    // type, receive queue, send queue, local path, local inode, peer path, peer inode, processes
    const [, , , path = '', inode = '', , peer = '', users = ''] = line.trim().split(/\s+/);
    return { path, inode, peer, own: users.includes(`pid=${String(server.pid)},`) };
  });
  const ours = new Set(rows.filter((row) => row.own).map((row) => row.inode));
  return rows.filter((row) => row.path === server.socketPath && !ours.has(row.peer)).length;
}
