// One master: an ssh process that holds a connection, over which sessions are opened.
import { inTime, onSilence, settledWithin } from '../../base/async/deadline.ts';
import type { ErrorClass } from '../../base/failure.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import type { Dialling } from '../dialling.ts';
import type { TcpWatch } from '../tcp/watch.ts';
import { sessionArgs, sshEnv, type MasterPath } from './arguments.ts';
import { isHung, Sessions, type SshProcess, type TellDeps } from './process.ts';
import { MasterWatch } from './watch.ts';

/** Least ms that the host may take to open a session, before the master counts as doubtful. */
export const OPENS_MS = 1000;
/** ms after which a host has certainly counted the end of a session before it is asked for the next one. */
const COUNTED_MS = 100;

/** Why no session was opened: the host has no more for this connection, the master is gone, or nothing was heard. */
export type Unopened = 'full' | 'gone' | 'silent';

/** What is told of the connection to a host. */
export interface SshEvent {
  readonly type: 'connection made' | 'connection lost';
  readonly target: string;
  readonly class?: ErrorClass;
  readonly detail?: string;
}

export interface MasterDeps extends TellDeps {
  /** Watches the connections of masters. */
  readonly watch: TcpWatch;
  /** Called for each line of `-v` of a login. */
  readonly onLogin?: ((line: string) => void) | undefined;
}

export class Master {
  readonly place: MasterPath;
  /** Its process; undefined for one that somebody else has started. */
  readonly process: SshProcess | undefined;
  /** ms that the login has taken; a session takes less. */
  readonly loginMs: number;
  readonly sinceMs = Date.now();
  /** Resolves when its process has ended, or it was given up. Never rejects. */
  readonly lost: Promise<void>;
  #giveUp = (): void => undefined;
  readonly #watch: MasterWatch;
  readonly #deps: MasterDeps;
  readonly #route: SshRoute;
  readonly #sessions = new Sessions();
  /** Why it was given up, or gets no more sessions. */
  #why: string | undefined;
  /** The ends of sessions that no stream uses: questions to bmux there, which take a session for a moment. */
  readonly questions = new Set<Promise<unknown>>();
  /** performance.now() of the last end of a session that was open. */
  #freedAt = -Infinity;
  /** Sessions that the host allows, as its refusals have shown. */
  maxSessions = Infinity;
  /** True when a session was not opened in time, or the master is to end: it gets no more sessions. */
  retired = false;
  isGone = false;
  #isAbandoned = false;
  /** True when its loss was told as an event. */
  lossTold = false;
  /** performance.now() of the last session's begin or end. */
  usedAt = performance.now();

  constructor(
    deps: MasterDeps,
    route: SshRoute,
    at: {
      readonly place: MasterPath;
      readonly process?: SshProcess;
      /** Of its process, whoever has started it. */
      readonly pid: number | undefined;
      readonly loginMs: number;
    },
  ) {
    this.#deps = deps;
    this.#route = route;
    this.place = at.place;
    this.process = at.process;
    this.loginMs = at.loginMs;
    this.lost = new Promise((resolve) => {
      this.#giveUp = resolve;
      void at.process?.exited.then(() => {
        this.isGone = true;
        resolve();
      });
    });
    this.#watch = new MasterWatch({
      pid: at.pid,
      tcp: deps.watch,
      sessions: this.#sessions,
      isHung: (isOver) => isHung(deps, route, at.place, isOver),
      giveUp: (why) => {
        this.#abandon(why);
      },
    });
    void this.lost.then(() => {
      this.#watch.end();
    });
  }

  get sessions(): number {
    return this.#sessions.running.size;
  }

  /** Resolves when the sessions that run now have ended. */
  get idle(): Promise<unknown> {
    return Promise.all([...this.#sessions.running].map(({ exited }) => exited));
  }

  get isUsable(): boolean {
    return !this.isGone && !this.retired;
  }

  get hasRoom(): boolean {
    return this.isUsable && this.sessions < this.maxSessions;
  }

  /** What it said last. */
  get lastLine(): string | undefined {
    return this.#why ?? (this.isGone ? this.process?.words.lines.at(-1) : undefined);
  }

  /** Of the failure that has ended it. */
  get lossClass(): ErrorClass {
    const isTimeout = this.#why !== undefined || this.lastLine?.startsWith('Timeout, server ') === true;
    return isTimeout ? 'timeout' : 'server_gone';
  }

  /** Its process is ended, and of one that somebody else has started the sessions alone. */
  #abandon(why: string): void {
    this.#why = why;
    this.isGone = true;
    this.#isAbandoned = true;
    const ending = this.process === undefined ? [...this.#sessions.running] : [this.process];
    for (const process of ending) void process.end();
    if (this.process === undefined) this.#giveUp();
  }

  /** Asks it now whether it works, and gives it up when it hangs. Never rejects. */
  abandonIfHung(): Promise<void> {
    return this.#watch.ask();
  }

  /**
   * Opens a session that runs `command`. Resolves with why not when the master cannot have it; rejects on abort or at the deadline. `opensMs`: least
   * time that the host has.
   */
  async open(
    command: string,
    options: {
      stdin: 'pipe' | 'ignore';
      dialling: Dialling;
      late: () => Error;
      opensMs?: number | undefined;
    },
  ): Promise<SshProcess | Unopened> {
    const { stdin, dialling, late, opensMs } = options;
    const { processes, env } = this.#deps;
    const process = processes.start(
      [...processes.newerOfSession, ...sessionArgs(this.#route, this.place, command)],
      {
        env: sshEnv(env),
        stdin,
        stdout: 'pipe',
      },
    );
    this.#sessions.add(process);
    this.#watch.look();
    const since = performance.now();
    this.usedAt = since;
    let isOpen = false;
    if (stdin === 'ignore') this.questions.add(process.exited);
    void process.exited.then(() => {
      this.questions.delete(process.exited);
      this.usedAt = performance.now();
      // One that was refused has had no session.
      if (isOpen) this.#freedAt = this.usedAt;
      if (!this.isUsable) this.#endWhenIdle();
    });
    try {
      const opened = await inTime(
        this.#opened(process, opensMs),
        dialling.deadline.remaining(),
        late,
        dialling,
      );
      if (opened === 'open') {
        isOpen = true;
        return process;
      }
      await process.end();
      if (opened === 'full' && (await this.#isFreed(since, dialling)))
        return await this.open(command, options);
      if (opened === 'full') this.maxSessions = this.sessions;
      if (opened === 'gone') {
        // Sessions that are open may go on, as after `ssh -O stop`.
        this.isGone = true;
        this.#endWhenIdle();
      }
      if (opened === 'silent') {
        this.#watch.hostWasSilent();
        this.#why ??= 'the host opened no session in time';
        this.retire();
      }
      return opened;
    } catch (error) {
      void process.end();
      throw error;
    }
  }

  /**
   * Whether the host may have a session again for one that was asked for at `since`: another one has ended about then, and the host may not have
   * counted that yet, or a question to bmux there, which takes a session for a moment, ends soon.
   */
  async #isFreed(since: number, { deadline, signal }: Dialling): Promise<boolean> {
    if (this.#freedAt > since - COUNTED_MS && this.isUsable) return true;
    return this.isUsable && (await hasFreed([this], { deadline, signal }));
  }

  /** ms to wait for a session: as long as the login took, and at least OPENS_MS. */
  get opensMs(): number {
    return Math.max(OPENS_MS, this.loginMs);
  }

  /** No more sessions; the master ends with the last one. */
  retire(): void {
    this.retired = true;
    this.#endWhenIdle();
  }

  /** Ends a master of this engine with all its sessions. One of the user goes on. */
  async end(): Promise<void> {
    this.retired = true;
    this.isGone = true;
    this.#watch.end();
    await this.process?.end();
  }

  #endWhenIdle(): void {
    // One that was given up ends already, and is lost then.
    if (this.sessions === 0 && !this.#isAbandoned) void this.end();
  }

  #opened(process: SshProcess, opensMs = 0): Promise<'open' | Unopened> {
    const { words } = process;
    let answered = (): void => undefined;
    const told = new Promise<'open' | Unopened>((resolve) => {
      answered = onSilence(Math.max(opensMs, this.opensMs), () => {
        resolve('silent');
      });
      words.onStep = (line) => {
        if (line.includes('master session id')) resolve('open');
      };
    });
    const ended = process.exited.then(() => (REFUSED.test(words.text) ? 'full' : 'gone'));
    return Promise.race([told, ended]).finally(answered);
  }
}

/** What is known of the sessions of a master. */
type Room = Pick<Master, 'process' | 'sessions' | 'maxSessions' | 'hasRoom'>;

/** Sessions that a host takes on each connection, as its refusals have shown; Infinity while it has refused none. */
export function sessionsOfEach(masters: readonly Room[]): number {
  // One of the user has sessions that are not known here.
  const own = masters.filter(({ process }) => process !== undefined);
  return Math.max(1, Math.min(...own.map(({ maxSessions }) => maxSessions)));
}

/** Waits for the end of a question to bmux there, on any of `masters`. False when there is none, or none ends soon. */
export async function hasFreed(
  masters: readonly Master[],
  { deadline, signal }: Pick<Dialling, 'deadline' | 'signal'>,
): Promise<boolean> {
  const questions = masters.flatMap((master) => [...master.questions]);
  if (questions.length === 0) return false;
  const ms = Math.max(...masters.map(({ opensMs }) => opensMs));
  return (await settledWithin(Promise.race(questions), deadline.within(ms))) && !signal.aborted;
}

/**
 * A master that has room. What a host has refused on one connection it will refuse on the others: with `isSure` there is no need to ask on each of
 * them, as where a login is still possible.
 */
export function withRoom<R extends Room>(masters: readonly R[], isSure: boolean): R | undefined {
  const most = sessionsOfEach(masters);
  const rooms = masters.filter(({ hasRoom }) => hasRoom);
  const likely = rooms.find(({ sessions, process }) => process === undefined || sessions < most);
  return likely ?? (isSure ? undefined : rooms[0]);
}

/** How the ssh of a session tells that the host has no more for this connection. */
const REFUSED = /Session open refused by peer|session request failed/;
