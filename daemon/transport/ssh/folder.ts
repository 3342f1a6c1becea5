// The folder of the masters' control sockets: one for each engine, mode 0700, in the runtime dir. A control socket is worth a login, so nobody
// else may use it. The folder also shows the next engine what one that was killed has left.
import { createHash, randomBytes } from 'node:crypto';
import { access, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../../base/files/make-folder.ts';
import { LIMITS } from '../../base/limits.ts';
import { maxSocketPath } from '../../base/files/socket-path.ts';
import { outputOf } from '../../base/process/output-of.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { fail } from '../../errors/fail.ts';
import { loginKey } from './arguments.ts';
import { signalGroup } from './process.ts';

/** Characters that ssh adds to the path of a control socket while it binds it. */
const ADDED = 17;
/** The folder of the masters that `bmuxd login` leaves to the engines. */
const LOGINS = 'login';

export class SshFolder {
  readonly #root: string;
  readonly #generation: string;
  readonly #removed = new AbortController();
  #next = 1;

  /** `engineSocket`: the engine's own socket, `RUNTIME_DIR/engines/GENERATION.sock`. */
  constructor(engineSocket: string, generation: string) {
    this.#root = rootBeside(dirname(dirname(engineSocket)));
    this.#generation = generation;
  }

  /** Path for the control socket of the next master. */
  async next(): Promise<string> {
    const own = this.#own;
    await makeFolder(own);
    return checked(join(own, (this.#next++).toString(36)));
  }

  /** Control sockets of masters that `bmuxd login` has made for this login. */
  async loginsOf(route: SshRoute): Promise<string[]> {
    return loginsIn(this.#root, nameOf(route));
  }

  get #own(): string {
    return join(this.#root, this.#generation);
  }

  /** Aborts with `remove`. */
  get removed(): AbortSignal {
    return this.#removed.signal;
  }

  async remove(): Promise<void> {
    this.#removed.abort();
    await rm(this.#own, { recursive: true, force: true });
  }

  /** Control sockets of masters that `bmuxd login` has made, also those that were set aside. */
  async logins(): Promise<string[]> {
    return loginsIn(this.#root);
  }

  /** Ends what engines that have died have left: masters, logins under way, and sessions. Never rejects. */
  async clean(isAlive: (generation: string) => Promise<boolean>): Promise<void> {
    const names = await readdir(this.#root).catch((): string[] => []);
    for (const name of names) {
      if (name === LOGINS || name === this.#generation || (await isAlive(name))) continue;
      const folder = join(this.#root, name);
      for (const pid of await withControlSocket(`${folder}/`)) kill(pid);
      await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

export interface PathsForLogin {
  /** For a new master. No other login has it: ssh would go to the background without a control socket, and nobody would end it. */
  readonly path: string;
  /** Where masters of the same login may be. */
  readonly present: readonly string[];
}

/** Paths for the master of `bmuxd login`, in a folder that is made. */
export async function pathsForLogin(runtimeDir: string, route: SshRoute): Promise<PathsForLogin> {
  const [root, name] = [rootBeside(runtimeDir), nameOf(route)];
  const path = join(root, LOGINS, `${name}${randomBytes(2).toString('hex')}`);
  await makeFolder(dirname(path));
  return { path: checked(path), present: await loginsIn(root, name) };
}

/** No engine finds the master of `bmuxd login` any more. Its sessions go on. Resolves with where it is then. */
export async function setAside(path: string): Promise<string> {
  const aside = join(dirname(path), `-${basename(path)}`);
  await rename(path, aside);
  return aside;
}

function rootBeside(runtimeDir: string): string {
  return join(runtimeDir, 'ssh');
}

/** How the sockets of a login begin. */
function nameOf(route: SshRoute): string {
  return createHash('sha256').update(loginKey(route)).digest('hex').slice(0, 8);
}

async function loginsIn(root: string, begin = ''): Promise<string[]> {
  const folder = join(root, LOGINS);
  const names = await readdir(folder).catch((): string[] => []);
  return names.filter((name) => name.startsWith(begin)).map((name) => join(folder, name));
}

function checked(path: string): string {
  const [length, limit] = [Buffer.byteLength(path), maxSocketPath() - ADDED];
  if (length > limit) throw fail('socket_path_too_long', { path, length, limit });
  return path;
}

/** Processes that have a control socket on their command line whose path begins so: masters, and the sessions of all engines. */
export async function withControlSocket(begin: string): Promise<number[]> {
  if (process.platform !== 'linux') return inListOfProcesses(begin);
  const found: number[] = [];
  for (const name of await readdir('/proc').catch((): string[] => [])) {
    if (!/^\d+$/.test(name)) continue;
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (line.split('\0').some((word) => word.startsWith(begin))) found.push(Number(name));
  }
  return found;
}

/** The same, by `ps`, where there is no `/proc`. */
async function inListOfProcesses(begin: string): Promise<number[]> {
  const { stdout } = await outputOf('ps', ['-axww', '-o', 'pid=,args='], { ms: LIMITS.sshControlMs });
  const lines = stdout.split('\n').filter((line) => line.includes(` ${begin}`));
  return lines.map((line) => Number.parseInt(line, 10)).filter((pid) => pid > 1);
}

/** Ends it, with its group when it leads one. */
function kill(pid: number): void {
  if (signalGroup(pid, 'SIGTERM')) return;
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // It has ended meanwhile, or belongs to another user.
  }
}

/** Whether something is at `path`. */
export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
