// The processes of ssh. Each belongs to the engine: it is ended with it and with all that it has started, and its exit is awaited.
import { spawn, type ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { textOf } from '../../base/failure.ts';
import { settledWithin } from '../../base/async/deadline.ts';
import { sleep } from '../../base/async/sleep.ts';
import { LIMITS } from '../../base/limits.ts';
import { outputOf } from '../../base/process/output-of.ts';
import type { Env } from '../../base/paths.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { controlArgs, sshEnv, type MasterPath } from './arguments.ts';
import { Words } from './words.ts';

/** ms that a process may take to exit after SIGTERM. */
const TERM_MS = 1000;
/** ms between two looks whether a group has ended. */
const GROUP_MS = 20;
/** ms that the last line of a process may take after its exit. */
const SAID_MS = 200;

export interface Exit {
  /** Exit status; 255 is ssh's own for a connection that failed. Undefined when a signal has ended it, or it could not be started. */
  readonly status: number | undefined;
  /** Why it could not be started. */
  readonly unstarted?: string;
}

export interface StartOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Default: `/dev/null`. */
  readonly stdin?: 'pipe' | 'ignore';
  /** Default: `/dev/null`. */
  readonly stdout?: 'pipe' | 'ignore';
  /**
   * It leads a group of its own, which is ended with it. Otherwise the ssh to a jump host, or a command of ssh_config, may outlive it: one that
   * connects reads nothing, and does not see its end.
   */
  readonly leads?: boolean;
}

export class SshProcess {
  readonly words = new Words();
  /** Resolves when the process has ended. Never rejects. */
  readonly exited: Promise<Exit>;
  /** How it has ended; undefined while it runs. */
  exit: Exit | undefined;
  /** ms since 1970 of the first bytes that were written to it since the last one came; undefined when there are none. */
  waitsSince: number | undefined;
  readonly #child: ChildProcess;
  readonly #leads: boolean;
  #kill: NodeJS.Timeout | undefined;

  constructor(
    args: readonly string[],
    { env, stdin = 'ignore', stdout = 'ignore', leads = false }: StartOptions,
  ) {
    this.#leads = leads;
    this.#child = spawn('ssh', args, { env, cwd: '/', stdio: [stdin, stdout, 'pipe'], detached: leads });
    const { stderr } = this.#child;
    stderr?.setEncoding('utf8');
    stderr?.on('data', (text: string) => {
      this.words.push(text);
    });
    for (const stream of [this.#child.stdin, this.#child.stdout, stderr])
      stream?.on('error', () => undefined);
    this.exited = new Promise((resolve) => {
      const over = (exit: Exit): void => {
        clearTimeout(this.#kill);
        this.exit ??= exit;
        resolve(this.exit);
      };
      this.#child.once('error', (error) => {
        if (this.#child.pid === undefined) over({ status: undefined, unstarted: textOf(error) });
      });
      this.#child.once('exit', (code) => {
        const exit = { status: code ?? undefined };
        // What it said last may still be in the pipe. A proxy command of its may keep the pipe open.
        const late = setTimeout(over, SAID_MS, exit);
        const said = (): void => {
          clearTimeout(late);
          over(exit);
        };
        if (stderr === null || stderr.readableEnded) said();
        else stderr.once('end', said);
      });
    });
  }

  get stdin(): Writable | null {
    return this.#child.stdin;
  }

  get stdout(): Readable | null {
    return this.#child.stdout;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Bytes read from its stdout. */
  get bytesRead(): number {
    const { stdout } = this.#child;
    return stdout instanceof Socket ? stdout.bytesRead : 0;
  }

  /** Bytes written to its stdin. */
  get bytesWritten(): number {
    const { stdin } = this.#child;
    return stdin instanceof Socket ? stdin.bytesWritten : 0;
  }

  /** Processes of the group that it leads, or that this process leads with it; 0 when nobody can tell. Never rejects. */
  async groupSize(): Promise<number> {
    const group = this.#leads ? this.pid : process.pid;
    const { stdout } = await outputOf('ps', ['-A', '-o', 'pgid='], { ms: LIMITS.sshControlMs });
    return stdout.split('\n').filter((line) => Number(line) === group).length;
  }

  /** Ends it at once, with the group that it leads. */
  kill(): void {
    if (this.#leads && this.pid !== undefined) signalGroup(this.pid, 'SIGKILL');
    else this.#child.kill('SIGKILL');
  }

  /** Ends it with SIGTERM, and with SIGKILL when that does nothing; then what it has left. Resolves when all have exited. */
  async end(): Promise<void> {
    if (this.exit !== undefined) return;
    this.#child.kill('SIGTERM');
    this.#kill ??= setTimeout(() => this.#child.kill('SIGKILL'), TERM_MS);
    await this.exited;
    const { pid } = this.#child;
    if (this.#leads && pid !== undefined) await endGroup(pid);
  }
}

/** Ends the processes of a group, as one is ended. Resolves when there are none. */
async function endGroup(group: number): Promise<void> {
  const since = performance.now();
  let isThere = signalGroup(group, 'SIGTERM');
  while (isThere && performance.now() - since < TERM_MS) {
    await sleep(GROUP_MS);
    isThere = signalGroup(group, 0);
  }
  if (isThere) signalGroup(group, 'SIGKILL');
}

/** False when the group has no process. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}

/** The sessions of a master. */
export class Sessions {
  readonly running = new Set<SshProcess>();
  /** Bytes of those that have ended. */
  readonly #past = { bytesRead: 0, bytesWritten: 0 };

  add(session: SshProcess): void {
    this.running.add(session);
    void session.exited.then(() => {
      this.running.delete(session);
      this.#past.bytesRead += session.bytesRead;
      this.#past.bytesWritten += session.bytesWritten;
    });
  }

  /** Bytes of all that there were. */
  sum(of: 'bytesRead' | 'bytesWritten'): number {
    return [...this.running].reduce((all, session) => all + session[of], this.#past[of]);
  }
}

/** Options that make of an ssh something else than a stream or a master, with the first version that knows them. */
const NEWER = {
  since: 8.7,
  options: ['StdinNull=no', 'ForkAfterAuthentication=no'],
  ofSession: ['SessionType=default'],
};

/** All ssh processes of the engine that run. */
export class SshProcesses {
  readonly #running = new Set<SshProcess>();
  readonly #lead: boolean;
  /** Arguments that this version of ssh needs, and an older one refuses. Known when `look` has been called. */
  newer: readonly string[] = [];
  /** Those of a session. */
  newerOfSession: readonly string[] = [];
  #looked: Promise<void> | undefined;
  #areEnded = false;
  /** An engine that exits before `endAll` is over leaves nothing behind. */
  readonly #atExit = (): void => {
    for (const process of this.#running) process.kill();
  };

  /** `lead`: each leads a group of its own. */
  constructor({ lead = true }: { readonly lead?: boolean | undefined } = {}) {
    this.#lead = lead;
  }

  /** Finds out which ssh this is, once. Never rejects. */
  look(env: Readonly<Record<string, string>>): Promise<void> {
    this.#looked ??= this.run(['-V'], { env }, LIMITS.sshControlMs).then((told) => {
      if ((told?.words.version ?? 0) < NEWER.since) return;
      this.newer = NEWER.options.map((option) => `-o${option}`);
      this.newerOfSession = [...this.newer, ...NEWER.ofSession.map((option) => `-o${option}`)];
    });
    return this.#looked;
  }

  start(args: readonly string[], options: StartOptions): SshProcess {
    const ssh = new SshProcess(args, { ...options, leads: this.#lead });
    if (this.#running.size === 0) process.on('exit', this.#atExit);
    this.#running.add(ssh);
    void ssh.exited.then(() => {
      this.#running.delete(ssh);
      if (this.#running.size === 0) process.off('exit', this.#atExit);
    });
    // A login may have waited for something else until now.
    if (this.#areEnded) void ssh.end();
    return ssh;
  }

  /** Runs one to its end, at most `ms`; undefined when it was ended before. */
  async run(args: readonly string[], options: StartOptions, ms: number): Promise<SshProcess | undefined> {
    const process = this.start(args, options);
    if (await settledWithin(process.exited, ms)) return process;
    await process.end();
    return undefined;
  }

  /** Ends all that run and that will be started, and waits for them. */
  async endAll(): Promise<void> {
    this.#areEnded = true;
    while (this.#running.size > 0) await Promise.all([...this.#running].map((ssh) => ssh.end()));
  }
}

export interface TellDeps {
  readonly processes: SshProcesses;
  readonly env: Env;
}

/** Ends a master that `bmuxd login` has left to the engines. */
export async function endLogin(deps: TellDeps, path: string): Promise<void> {
  await tell(deps, { host: 'bmuxd' }, { path }, 'exit');
}

/** What a master answers; undefined when it does not. */
export async function tell(
  { processes, env }: TellDeps,
  route: Pick<SshRoute, 'host' | 'user' | 'port'>,
  place: MasterPath,
  what: 'check' | 'exit',
): Promise<string | undefined> {
  const told = await processes.run(
    controlArgs(route, place, what),
    { env: sshEnv(env) },
    LIMITS.sshControlMs,
  );
  return told?.exit?.status === 0 ? told.words.text : undefined;
}

/** Times that a master is asked before it counts as hung. */
const ASKED = 3;

/** Whether a master says nothing on its control socket, not even that it is none. False as soon as `isOver`. Never rejects. */
export async function isHung(
  { processes, env }: TellDeps,
  route: Pick<SshRoute, 'host' | 'user' | 'port'>,
  place: MasterPath,
  isOver: () => boolean,
): Promise<boolean> {
  const args = controlArgs(route, place, 'check');
  for (let left = ASKED; left > 0 && !isOver(); left -= 1)
    if ((await processes.run(args, { env: sshEnv(env) }, LIMITS.sshControlMs)) !== undefined) return false;
  return !isOver();
}
