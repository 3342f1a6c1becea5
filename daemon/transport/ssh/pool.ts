// All logins of the engine, by what they depend on, and the processes below them.
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { LIMITS } from '../../base/limits.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Env } from '../../base/paths.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { TcpWatch } from '../tcp/watch.ts';
import { loginKey } from './arguments.ts';
import { SshFolder } from './folder.ts';
import { SshHost, type SshHostDeps, type SshWait } from './host.ts';
import type { Preflight } from './preflight.ts';
import { endLogin, SshProcesses } from './process.ts';
import type { OpenedSsh } from './stream.ts';

export interface SshPoolOptions extends Pick<SshHostDeps, 'event' | 'onLogin'> {
  /** The daemon's environment. */
  readonly env: Env;
  /** The engine's own socket, beside which the folder of the masters is. */
  readonly engineSocket: string;
  readonly generation: string;
  /** Whether each ssh leads a group of its own, which is ended with it. Default: true. */
  readonly lead?: boolean;
  /** Watches the connections of the masters. */
  readonly watch?: TcpWatch;
  /** Whether another engine runs. */
  readonly isAlive: (generation: string) => Promise<boolean>;
  /** Whether no engine follows this one, so that nothing may be left. */
  readonly isLast: () => Promise<boolean>;
  readonly clock?: Pick<Clock, 'every'>;
  /** Whether the masters of a target are kept: always (true), for some time after a use (auto), or not (false). */
  readonly warmth: (named: {
    readonly label: string;
    readonly link?: string | undefined;
  }) => boolean | 'auto';
}

/** Logins at once; the least recently used one without a master is forgotten first. */
const MAX_HOSTS = 256;
/** ms between two searches for unused masters. */
const REAP_MS = 30_000;
/** ms that a master of a target with `warm = false` is kept. */
const NOT_KEPT_MS = 1000;

export class SshPool {
  readonly #options: SshPoolOptions;
  readonly #processes: SshProcesses;
  readonly #watch: TcpWatch;
  readonly #folder: SshFolder;
  readonly #hosts = new LruMap<string, SshHost>(MAX_HOSTS, undefined, (host) => host.inUse);
  readonly #stopReaping: () => void;
  /** Resolves when nothing of a dead engine is left. */
  readonly #cleaned: Promise<void>;
  #closed = false;

  constructor(options: SshPoolOptions) {
    this.#options = options;
    this.#processes = new SshProcesses(options);
    this.#watch = options.watch ?? new TcpWatch();
    this.#folder = new SshFolder(options.engineSocket, options.generation);
    this.#cleaned = this.#folder.clean(options.isAlive);
    this.#stopReaping = (options.clock ?? SYSTEM_CLOCK).every(REAP_MS, () => {
      for (const host of this.#hosts.values()) host.reap(this.#idleMsOf(host));
    });
  }

  /** A stream over `route` on which nothing was sent. */
  stream(route: SshRoute, wait: SshWait): Promise<OpenedSsh> {
    return this.#host(route).stream(route, wait);
  }

  /** Logs in if needed. Resolves with the epoch of the server there, if it is known, and whether nothing had to be asked. */
  epochOf(route: SshRoute, wait: SshWait): ReturnType<SshHost['epochOf']> {
    return this.#host(route).epochOf(route, wait);
  }

  /** What a preflight has found there, if it is remembered. */
  found(route: SshRoute): Preflight | undefined {
    return this.#hosts.peek(loginKey(route))?.found(route);
  }

  /** See `SshHost.forget`. */
  forget(route: SshRoute): void {
    this.#hosts.peek(loginKey(route))?.forget(route);
  }

  isWarm(route: SshRoute): boolean {
    return this.#hosts.peek(loginKey(route))?.isWarm === true;
  }

  warmSinceMs(route: SshRoute): number | undefined {
    return this.#hosts.peek(loginKey(route))?.warmSinceMs;
  }

  /** Sessions that the host takes from this engine; Infinity while it has refused none. */
  sessionsOf(route: SshRoute): number {
    return this.#hosts.peek(loginKey(route))?.maxSessions ?? Infinity;
  }

  /** The network has changed: connections are checked before their next use. */
  markStale(): void {
    for (const host of this.#hosts.values()) host.markStale();
  }

  drop(route: SshRoute): void {
    this.#hosts.peek(loginKey(route))?.drop(route);
  }

  /** Ends all masters; those that `bmuxd login` has made only with the last engine. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopReaping();
    await this.#cleaned;
    await Promise.all([...this.#hosts.values()].map((host) => host.close()));
    if (await this.#options.isLast()) {
      const deps = { processes: this.#processes, env: this.#options.env };
      await Promise.all((await this.#folder.logins()).map((path) => endLogin(deps, path)));
    }
    await this.#processes.endAll();
    await this.#folder.remove();
  }

  #host(route: SshRoute): SshHost {
    const key = loginKey(route);
    const known = this.#hosts.get(key);
    if (known !== undefined) return known;
    const { env, event, onLogin } = this.#options;
    const deps = { processes: this.#processes, folder: this.#folder, watch: this.#watch };
    const host = new SshHost({ ...deps, env, event, onLogin });
    if (!this.#closed) this.#hosts.set(key, host);
    return host;
  }

  #idleMsOf(host: SshHost): number {
    const all = [...host.names.values()].map((named) => this.#options.warmth(named));
    if (all.includes(true)) return Infinity;
    return all.length > 0 && all.every((warmth) => warmth === false) ? NOT_KEPT_MS : LIMITS.sshIdleMs;
  }
}
