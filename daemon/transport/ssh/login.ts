// How a master is made: a login of ssh with the agent of the caller, or one that somebody else has started already.
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { settledWithin } from '../../base/async/deadline.ts';
import { sleep } from '../../base/async/sleep.ts';
import { withEither } from '../../base/async/until-aborted.ts';
import { LIMITS } from '../../base/limits.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import type { Dialling } from '../dialling.ts';
import { isProgram } from '../tcp/of-process.ts';
import { masterKey, masterArgs, sshEnv, type MasterPath } from './arguments.ts';
import { loginFailure, sshTimeout } from './failures.ts';
import { exists, setAside, withControlSocket, type SshFolder } from './folder.ts';
import { Master, OPENS_MS, type MasterDeps } from './master.ts';
import { endLogin, tell } from './process.ts';
import type { Words } from './words.ts';

/** ms between two looks whether a master listens; ssh says nothing to its parent. */
const LOOK_MS = 20;
/** ms between two looks whether another engine still has sessions over a master. */
const SESSIONS_LOOK_MS = 1000;

/** ms between two counts of the processes of a login through a proxy, and how many show that its ProxyCommand starts itself. */
const COUNT_MS = 2000;
const MAX_PROCESSES = 40;
const PROXY_LOOP = {
  told: `its ProxyCommand has started more than ${String(MAX_PROCESSES)} processes`,
  remedy:
    'It seems to lead through its own host: set `ProxyCommand none` in ssh_config for the host that it logs in to.',
};

export interface LoginOptions {
  readonly label: string;
  /** Of the master's control socket. */
  readonly path: string;
  readonly connectMs: number;
  /** Gets what ssh will say. */
  readonly onStart?: (words: Words) => void;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/** The drops of a target: what is under way then may hang, and is done anew for those who wait for it. */
export class Drops {
  #next = new AbortController();

  /** Aborts with the next drop. */
  get signal(): AbortSignal {
    return this.#next.signal;
  }

  drop(): void {
    this.#next.abort();
    this.#next = new AbortController();
  }

  /** Does `work`, and does it anew when the target is dropped meanwhile. */
  async again<T, W extends Dialling>(wait: W, work: (until: W) => Promise<T>): Promise<T> {
    for (;;) {
      const { signal: dropped } = this;
      try {
        return await withEither([wait.signal, dropped], (signal) => work({ ...wait, signal }));
      } catch (error) {
        if (!dropped.aborted || wait.signal.aborted || wait.deadline.remaining() <= 0) throw error;
      }
    }
  }
}

/** Logs in. Resolves with the master when it listens at `path`; rejects with the failure for the user. */
export async function login(
  deps: MasterDeps,
  route: SshRoute,
  { label, path, connectMs, onStart = () => undefined, signal }: LoginOptions,
): Promise<Master> {
  const agentSocket = await firstLiveAgent(route);
  const env = sshEnv(deps.env, { ...route, agentSocket });
  await deps.processes.look(env);
  const since = performance.now();
  const process = deps.processes.start([...deps.processes.newer, ...masterArgs(route, path, connectMs)], {
    env,
  });
  onStart(process.words);
  if (deps.onLogin !== undefined) process.words.onStep = deps.onLogin;
  const listens = (async (): Promise<void> => {
    let countAt = since + COUNT_MS;
    const isOver = (): boolean =>
      process.exit !== undefined || process.words.loop !== undefined || signal?.aborted === true;
    while (!isOver() && !(await exists(path))) {
      await sleep(LOOK_MS);
      if (!process.words.hasProxy || performance.now() < countAt) continue;
      if ((await process.groupSize()) > MAX_PROCESSES) process.words.loop = PROXY_LOOP;
      countAt = performance.now() + COUNT_MS;
    }
  })();
  const inLimit = await settledWithin(listens, LIMITS.sshLoginMs);
  if (!inLimit || process.words.loop !== undefined || signal?.aborted === true) await process.end();
  if (process.exit !== undefined) {
    const { words, exit } = process;
    throw inLimit ? loginFailure(label, { words, exit }) : sshTimeout(label, words, words);
  }
  const { pid } = process;
  return new Master(deps, route, { place: { path }, process, pid, loginMs: performance.now() - since });
}

/** A master that somebody else has started and that answers; undefined where there is none. */
export async function foundMaster(
  deps: MasterDeps,
  route: SshRoute,
  place: MasterPath,
): Promise<Master | undefined> {
  if (place !== 'users own' && !(await exists(place.path))) return undefined;
  await deps.processes.look(sshEnv(deps.env));
  const told = await tell(deps, route, place, 'check');
  if (told === undefined) return undefined;
  const named = pidIn(told);
  const pid = (await isProgram(named, 'ssh')) ? named : undefined;
  return new Master(deps, route, { place, pid, loginMs: OPENS_MS });
}

/** The process that a master names when it is asked. */
function pidIn(told: string): number {
  return Number(/\(pid=(\d+)\)/.exec(told)?.[1]);
}

/**
 * The first agent of the route that takes a connection; the caller's own one when none does. A forwarded agent ends with its login session, and
 * its socket may stay.
 */
async function firstLiveAgent({ agentSocket, earlierAgents }: SshRoute): Promise<string | undefined> {
  if (agentSocket === undefined || earlierAgents === undefined) return agentSocket;
  for (const path of [agentSocket, ...earlierAgents]) if (await isLive(path)) return path;
  return agentSocket;
}

/** Whether somebody listens at `path`. */
export function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (isThere: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(isThere);
    };
    const timer = setTimeout(done, LIMITS.sshControlMs, false);
    socket.once('connect', () => {
      done(true);
    });
    socket.once('error', () => {
      done(false);
    });
  });
}

/**
 * Ends the masters that `bmuxd login` has made for this login. One that is used, here or by an engine that drains, goes on until its sessions have
 * ended. Never rejects.
 */
export async function dropLogins(
  deps: MasterDeps & { readonly folder: SshFolder },
  route: SshRoute,
  used: readonly Master[],
): Promise<void> {
  for (const path of await deps.folder.loginsOf(route)) {
    const master = used.find(({ place }) => masterKey(place) === masterKey({ path }));
    void dropLogin(deps, path, master);
  }
}

async function dropLogin(
  deps: MasterDeps & { readonly folder: SshFolder },
  path: string,
  master: Master | undefined,
): Promise<void> {
  const aside = await setAside(path).catch(() => undefined);
  if (aside === undefined) return;
  await master?.idle;
  const told = await tell(deps, { host: 'bmuxd' }, { path: aside }, 'check');
  const isUsed = async (): Promise<boolean> =>
    told !== undefined && (await withControlSocket(path)).some((pid) => pid !== pidIn(told));
  try {
    while (await isUsed()) await sleep(SESSIONS_LOOK_MS, deps.folder.removed);
  } catch {
    // This engine ends. The last one ends all logins.
    return;
  }
  await endLogin(deps, aside);
  // ssh removes the path that it was given.
  await rm(aside, { force: true }).catch(() => undefined);
}
