// The masters of one login: all targets with the same host, user and keys share them. A master has a bounded number of sessions, so there may be
// several. Logins are made one at a time.
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { SingleFlight } from '../../base/async/single-flight.ts';
import { LIMITS } from '../../base/limits.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { fail } from '../../errors/fail.ts';
import type { Dialling } from '../dialling.ts';
import { masterKey } from './arguments.ts';
import type { SshFolder } from './folder.ts';
import { dropLogins, Drops, foundMaster, login } from './login.ts';
import { hasFreed, sessionsOfEach, withRoom } from './master.ts';
import type { Master, MasterDeps, SshEvent, Unopened } from './master.ts';
import { BMUX_THERE, sshTimeout, type LoginProgress } from './failures.ts';
import { preflight, serverThere, type Preflight } from './preflight.ts';
import type { SshProcess } from './process.ts';
import { SshStream, type OpenedSsh } from './stream.ts';
import { ServerWatches, type ServerThere } from './watch.ts';
import type { Words } from './words.ts';

/** The request that a stream is for. */
export interface SshWait extends Dialling {
  readonly label: string;
  readonly link?: string | undefined;
}

export interface SshHostDeps extends MasterDeps {
  readonly folder: SshFolder;
  readonly event: (event: SshEvent) => void;
}

/** Masters of one login at most: with the usual MaxSessions more than the connections of a server. */
const MAX_MASTERS = 8;
/** ms of a check after a change of the network, at least: after a sleep the network comes back only after some seconds, and no caller waits. */
const CHECK_MS = 5000;
/** Targets whose preflight is remembered, and names that are. */
const MAX_REMEMBERED = 16;

export class SshHost {
  readonly #deps: SshHostDeps;
  readonly #masters = new Set<Master>();
  readonly #logins = new SingleFlight<string, Master>();
  /** Until when (performance.now()) a master of another program is not asked, by `masterKey`. */
  readonly #shunned = new Map<string, number>();
  /** What is waited for here. */
  #step: LoginProgress = { waitsFor: undefined };
  readonly #preflights = new LruMap<string, Preflight>(MAX_REMEMBERED);
  readonly #watches = new ServerWatches(MAX_REMEMBERED);
  readonly #underWay = new SingleFlight<string, Preflight>();
  readonly #drops = new Drops();
  /** The targets that were opened here, by the name that a person has used. */
  readonly names = new LruMap<string, Pick<SshWait, 'label' | 'link'>>(MAX_REMEMBERED);

  constructor(deps: SshHostDeps) {
    this.#deps = deps;
  }

  /** A stream to the server of `route`, on which nothing was sent. */
  stream(route: SshRoute, wait: SshWait): Promise<OpenedSsh> {
    return this.#drops.again(wait, (until) => this.#stream(route, until));
  }

  async #stream(route: SshRoute, wait: SshWait): Promise<OpenedSsh> {
    this.names.set(wait.link ?? wait.label, { label: wait.label, link: wait.link });
    const { isKnown, version } = await this.#ready(route, wait);
    const command = `${route.remoteBmuxPath} server bridge --stdio`;
    const { session, master, warm } = await this.#session(route, command, 'pipe', wait);
    const { label } = wait;
    const stream = new SshStream({ session, route, label, lastLine: () => master.lastLine });
    // A forced command, of which no preflight tells the version, does not answer.
    if (version !== undefined) {
      const ask = (): Promise<ServerThere> =>
        serverThere(route, label, (asking) => this.#sessionOnly(asking, label));
      this.#watches.add(route.remoteBmuxPath, ask, stream);
    }
    return { stream, warm: warm && isKnown };
  }

  /** The epoch of the server there, if a preflight tells it. `isKnown`: nothing had to be asked for it. */
  epochOf(route: SshRoute, wait: SshWait): Promise<Pick<Preflight, 'epoch'> & { readonly isKnown: boolean }> {
    return this.#drops.again(wait, (until) => this.#ready(route, until));
  }

  found(route: SshRoute): Preflight | undefined {
    return this.#preflights.peek(route.remoteBmuxPath);
  }

  /** What was found out about this target may not be so any more. */
  forget(route: SshRoute): void {
    this.#preflights.delete(route.remoteBmuxPath);
  }

  /** A session over a connection that is there; rejects without one that has room. */
  async #sessionOnly(command: string, label: string): Promise<SshProcess> {
    const master = withRoom(this.#usable, true);
    const session = master === undefined ? 'full' : await this.#open(master, command);
    if (typeof session !== 'string') return session;
    if (master !== undefined) this.#hasNotOpened(master, session);
    throw fail('ssh_lost', { label });
  }

  /** Of all masters together: each has as many as the one with the fewest. Infinity while the host has refused none. */
  get maxSessions(): number {
    return MAX_MASTERS * sessionsOfEach([...this.#masters]);
  }

  get isWarm(): boolean {
    return this.#usable.length > 0;
  }

  /** ms since 1970. */
  get warmSinceMs(): number | undefined {
    return this.isWarm ? Math.min(...this.#usable.map(({ sinceMs }) => sinceMs)) : undefined;
  }

  /** True while there is something that must not be forgotten. */
  get inUse(): boolean {
    return this.#masters.size > 0;
  }

  /** Live streams go on, and their masters with them. */
  drop(route: SshRoute): void {
    void dropLogins(this.#deps, route, [...this.#masters]);
    for (const master of this.#masters) {
      master.retire();
      if (master.process === undefined) this.#shun(master, DROPPED_MS);
    }
    this.#preflights.clear();
    this.#underWay.forgetAll();
    this.#logins.forgetAll();
    this.#drops.drop();
  }

  /** Ends masters that were unused for `idleMs`. Of several without a session one is kept. */
  reap(idleMs: number): void {
    const now = performance.now();
    const idle = this.#usable.filter(({ sessions, process }) => sessions === 0 && process !== undefined);
    for (const [index, master] of idle.entries())
      if (now - master.usedAt > (index > 0 ? Math.min(idleMs, SURPLUS_MS) : idleMs)) master.retire();
  }

  /** The network has changed, or the machine has slept. A connection that is dead by now is found so before somebody needs it. */
  markStale(): void {
    for (const master of this.#usable.filter(({ hasRoom }) => hasRoom))
      void this.#open(master, 'true', CHECK_MS).then((opened) => {
        if (typeof opened === 'string') this.#hasNotOpened(master, opened);
      });
  }

  /** Opens a session that no caller waits for. Never rejects. */
  #open(master: Master, command: string, opensMs?: number): Promise<SshProcess | Unopened> {
    const dialling = { deadline: new Deadline(LIMITS.sshLoginMs), signal: new AbortController().signal };
    const late = (): Error => sshTimeout(command, { waitsFor: undefined });
    return master.open(command, { stdin: 'ignore', dialling, late, opensMs }).catch(() => 'silent' as const);
  }

  /** Ends all masters of this engine. */
  async close(): Promise<void> {
    const masters = [...this.#masters];
    this.#masters.clear();
    await Promise.all(masters.map((master) => master.end()));
  }

  get #usable(): Master[] {
    return [...this.#masters].filter((master) => master.isUsable);
  }

  /** The preflight that is remembered, or a new one. */
  async #ready(route: SshRoute, wait: SshWait): Promise<Preflight & { readonly isKnown: boolean }> {
    const key = route.remoteBmuxPath;
    const known = this.#preflights.get(key);
    if (known !== undefined) return { ...known, isKnown: true };
    const run = this.#underWay.run(`${key} ${String(route.startsServer)}`, async () => {
      // Other callers may wait for it longer than this one.
      const deadline = new Deadline(LIMITS.sshPreflightMs);
      const shared = { ...wait, deadline, signal: this.#drops.signal };
      const runThere = async (command: string): Promise<SshProcess> =>
        (await this.#session(route, command, 'ignore', shared)).session;
      const found = await preflight(route, wait.label, shared, runThere);
      this.#preflights.set(key, found);
      this.#watches.suspect(key);
      return found;
    });
    const found = await inTime(run, wait.deadline.remaining(), () => this.#late(wait), wait);
    return { ...found, isKnown: false };
  }

  async #session(
    route: SshRoute,
    command: string,
    stdin: 'pipe' | 'ignore',
    wait: SshWait,
  ): Promise<{ readonly session: SshProcess; readonly master: Master; readonly warm: boolean }> {
    let warm = true;
    for (;;) {
      let master = withRoom(this.#usable, this.#usable.length < MAX_MASTERS);
      if (master === undefined) {
        warm = false;
        if (this.#usable.length >= MAX_MASTERS) {
          if (await hasFreed(this.#usable, wait)) continue;
          throw fail('ssh_session_refused', { label: wait.label });
        }
        const run = this.#logins.run('login', () => this.#login(route, wait));
        master = await inTime(run, wait.deadline.remaining(), () => this.#late(wait), wait);
      }
      const fresh = master.sessions === 0 && !warm;
      this.#step = { waitsFor: 'the host to open a session' };
      const session = await master.open(command, { stdin, dialling: wait, late: () => this.#late(wait) });
      if (typeof session !== 'string') {
        this.#step = { waitsFor: BMUX_THERE };
        return { session, master, warm };
      }
      this.#hasNotOpened(master, session);
      if (session === 'full' && fresh && master.retired)
        throw fail('ssh_session_refused', { label: wait.label });
      if (wait.deadline.remaining() <= 0) throw this.#late(wait);
    }
  }

  #late({ label }: SshWait): Error {
    return sshTimeout(label, this.#step);
  }

  /** A master that answers already, the user's own one among them, else a login. */
  async #login(route: SshRoute, wait: SshWait): Promise<Master> {
    const { folder } = this.#deps;
    const { label } = wait;
    const target = wait.link ?? label;
    const { signal } = this.#drops;
    const logins = (await folder.loginsOf(route)).map((path) => ({ path }));
    for (const place of [...logins, 'users own'] as const) {
      const key = masterKey(place);
      if ((this.#shunned.get(key) ?? 0) > performance.now()) continue;
      if (this.#usable.some((master) => masterKey(master.place) === key)) continue;
      const found = await foundMaster(this.#deps, route, place);
      if (found !== undefined) return this.#add(found, target);
    }
    const path = await folder.next();
    const onStart = (words: Words): void => void (this.#step = words);
    const master = await login(this.#deps, route, {
      label,
      path,
      connectMs: wait.deadline.remaining(),
      onStart,
      signal,
    });
    return this.#add(master, target);
  }

  #add(master: Master, target: string): Master {
    this.#masters.add(master);
    void master.lost.then(() => {
      this.#forgetMaster(master);
      if (master.process === undefined) this.#shun(master, SHUNNED_MS);
    });
    this.#deps.event({ type: 'connection made', target });
    return master;
  }

  /** What another program has started is not asked again for a while, and is never ended. */
  #hasNotOpened(master: Master, why: Unopened): void {
    if (why === 'gone') this.#forgetMaster(master);
    if (why === 'silent') {
      this.#tellLoss(master);
      for (const one of this.#masters) void one.abandonIfHung();
    }
    // It is of no use, and a new login may be.
    if (why === 'full' && master.sessions === 0 && master.process !== undefined) master.retire();
    if (why !== 'full' && master.process === undefined)
      this.#shun(master, why === 'gone' ? GONE_MS : SHUNNED_MS);
  }

  #shun(master: Master, ms: number): void {
    this.#masters.delete(master);
    this.#shunned.set(masterKey(master.place), performance.now() + ms);
  }

  #forgetMaster(master: Master): void {
    if (!this.#masters.delete(master) || master.retired) return;
    // The host may have been started again, without its server.
    this.#preflights.clear();
    this.#tellLoss(master);
  }

  #tellLoss(master: Master): void {
    const [target] = [...this.names.keys()].slice(-1);
    if (target === undefined || master.lossTold) return;
    master.lossTold = true;
    const detail = master.lastLine ?? 'its ssh has ended';
    this.#deps.event({ type: 'connection lost', target, class: master.lossClass, detail });
  }
}

/** ms that a second master without sessions is kept. */
const SURPLUS_MS = 60_000;
/** ms for which a master of another program is not asked: it did not answer, it is gone, or it was dropped. */
const [SHUNNED_MS, GONE_MS, DROPPED_MS] = [60_000, 500, 3000];
