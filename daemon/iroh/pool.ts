// Warm iroh connections: one endpoint per engine, authenticated connections per key, dialled once however many ask.
import type { Duplex } from 'node:stream';
import { inTime } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import type { Dialling } from '../transport/dialling.ts';
import { answeringAgent } from '../transport/ssh-auth/authenticate.ts';
import { fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { askedFor, type IrohRoute } from '../engine-protocol/plan.ts';
import type { Settings } from '../config/settings/table.ts';
import { Dials, type Connect } from './dials.ts';
import { agentsOf, dialKey, IrohDialler, connectionKey } from './dialler.ts';
import { Liveness } from './liveness.ts';
import { Reconnect, type Named, type Warmth } from './reconnect.ts';
import { WarmConnection } from './warm-connection.ts';

/** Told to whoever follows the events. */
export interface PoolEvent {
  readonly type: 'connection made' | 'connection lost';
  readonly target: string;
  readonly detail?: string;
}

export interface IrohStream {
  readonly stream: Duplex;
  /** False when this request had to wait for a dial. */
  readonly warm: boolean;
  /** True when nothing has come over its connection for a while since the stream was opened, although something should have. */
  readonly doubtful: () => boolean;
}

/** What a caller's request is called, and its limits. */
export interface Wait extends Named, Dialling {}

/** Connections to keep at most: each is a socket's worth of state and a keep-alive every 5 s. */
const MAX_CONNECTIONS = 64;
/** ms that an unused connection of a target that is not to be warm stays: the caller that it was made for opens its stream meanwhile. */
const NOT_KEPT_MS = 1000;
/** ms between two looks for connections that nobody uses. */
const REAP_MS = 30_000;

/** Keys decide who one is: a connection that a key has authenticated serves only callers whose own agent lists that key (design.md). */
export class IrohPool {
  readonly #idleMs: number;
  readonly #warm = new Set<WarmConnection>();
  readonly #dials = new Dials<WarmConnection>();
  readonly #reaper: NodeJS.Timeout;
  readonly #dialler: IrohDialler;
  readonly #liveness: Liveness;
  readonly #event: (event: PoolEvent) => void;
  readonly #reconnect: Reconnect;
  #closed = false;

  /** `idleMs`: how long an unused connection is kept. */
  constructor(options: {
    readonly relays: () => Settings['iroh.relays'];
    readonly idleMs?: number;
    readonly reapMs?: number;
    readonly event?: (event: PoolEvent) => void;
    /** Default `auto` for all. */
    readonly warmth?: (named: Named) => Warmth;
    /** Told how each dial ended that nobody asked for. */
    readonly tried?: (route: IrohRoute, failure?: Failure) => void;
    /** Asks where the share link leads now that led to this host; false when nobody can tell. */
    readonly ask?: (route: IrohRoute) => boolean;
    /** Wall clock, ms. */
    readonly now?: () => number;
  }) {
    this.#idleMs = options.idleMs ?? LIMITS.irohIdleMs;
    this.#event = options.event ?? ignore;
    this.#reconnect = new Reconnect({
      isWarm: (route) => this.isWarm(route),
      isUnattended: (route) => this.#dialler.unattended(route) !== undefined,
      recentMs: this.#idleMs,
      warmth: options.warmth ?? (() => 'auto'),
      ask: options.ask ?? (() => false),
      tried: options.tried ?? ignore,
      dial: (route, named) => {
        this.#followRelays();
        const alone = this.#dialler.unattended(route) ?? route;
        return this.#dials.join(dialKey(alone), this.#dialOf(alone, named)).done;
      },
    });
    this.#liveness = new Liveness({
      connections: () => this.#warm,
      onDead: (warm) => {
        this.#dead(warm);
      },
      ...(options.now === undefined ? {} : { now: options.now }),
    });
    this.#dialler = new IrohDialler(options.relays);
    this.#reaper = setInterval(() => {
      this.#reap();
    }, options.reapMs ?? REAP_MS);
    this.#reaper.unref();
  }

  /** True when a connection for `route` is up, whoever may use it. */
  isWarm(route: IrohRoute): boolean {
    return this.#usable(route).length > 0;
  }

  /** When the oldest connection for `route` that is up was made, ms since the epoch. */
  warmSinceMs(route: IrohRoute): number | undefined {
    const made = this.#usable(route).map((warm) => warm.madeAtMs);
    return made.length === 0 ? undefined : Math.min(...made);
  }

  /** True while a connection for `route` is being made, whoever asked for it. */
  isDialling(route: IrohRoute): boolean {
    const way = connectionKey(route);
    return this.#dials.keys().some((key) => key.startsWith(`${way}|`));
  }

  /** Nothing that was heard so far counts any more: what is warm is asked before its next use. */
  markStale(): void {
    for (const warm of this.#warm) warm.markStale();
  }

  /** Connections that are kept now. */
  get size(): number {
    return this.#warm.size;
  }

  /**
   * A new stream to `route`'s host: on a warm connection when there is one that this caller may use and that has room, else on a new one.
   * Rejects with the failure of the dial, or of the step that was running when the caller's time was over.
   */
  async stream(route: IrohRoute, wait: Wait): Promise<IrohStream> {
    let warm = true;
    this.#reconnect.used(connectionKey(route), route, wait);
    for (;;) {
      this.#liveness.noticeJump();
      this.#followRelays();
      const usable = await this.#find(route, wait);
      if (usable !== undefined && !usable.fresh && !(await this.#alive(usable, wait))) {
        this.#dead(usable);
        continue;
      }
      const opened = usable === undefined ? undefined : await this.#tryOn(usable, wait);
      if (opened !== undefined) return { ...opened, warm };
      if (usable !== undefined) continue;
      warm = false;
      const dialled = await this.#dialled(route, wait);
      if (dialled === undefined) continue;
      // More callers than it has room for may have waited: those that find none dial the next one.
      if (dialled.connection.hasRoom()) return { ...(await dialled.open(wait)), warm };
      if (!dialled.connection.isAlive())
        throw fail('iroh_stream_failed', {}, new Error(await dialled.connection.closed));
    }
  }

  /** A target leads to another host now: what was warm for it becomes warm there, and the former host is left. */
  moved(from: IrohRoute, to: IrohRoute, named: Named): void {
    const [former, next] = [connectionKey(from), connectionKey(to)];
    if (former !== next) this.#dialler.moved(from, to);
    if (former !== next && this.#reconnect.moved(former, next, to, named)) this.#leave(former);
  }

  /** A target leads there no more: as `drop`, unless others have used it last. */
  left(route: IrohRoute, named: Named): void {
    if (this.#reconnect.left(connectionKey(route), named)) this.#leave(connectionKey(route));
  }

  /** Lets go of the connections to `route`'s host; streams on them live on. */
  drop(route: IrohRoute, named: Named): void {
    this.#reconnect.forget(connectionKey(route), named);
    this.#leave(connectionKey(route));
  }

  /** The round trip to `route`'s host, ms, as the binding measures it. */
  roundTripMs(route: IrohRoute): number | undefined {
    return this.#usable(route)[0]?.connection.rttMs();
  }

  /** No stream will be asked for any more: keeps only connections with streams on them, until those end. */
  rest(): void {
    this.#reconnect.close();
    this.#leave();
  }

  /** Closes every connection gracefully, then the endpoints. Bounded by the transport's own limits. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#reaper);
    this.#liveness.close();
    this.#reconnect.close();
    await this.#dials.close(fail('stopping'));
    await Promise.allSettled([...this.#warm].map((warm) => warm.connection.close()));
    this.#warm.clear();
    await this.#dialler.close();
  }

  /** The connections to `route`'s host that are up, the oldest first. */
  #usable(route: IrohRoute): WarmConnection[] {
    const way = connectionKey(route);
    return [...this.#warm].filter((warm) => warm.key === way && warm.usable);
  }

  async #find(route: IrohRoute, wait: Wait): Promise<WarmConnection | undefined> {
    const candidates = (): WarmConnection[] =>
      this.#usable(route).filter((warm) => warm.connection.hasRoom());
    if (!route.sshAuth) return candidates().find((warm) => warm.fingerprint === undefined);
    if (candidates().length === 0 || route.agentSocket === undefined) return undefined;
    const agent = await answeringAgent(agentsOf(route), wait);
    const listed = agent?.fingerprints ?? [];
    // Looked up anew: the question took its time.
    return candidates().find((warm) => warm.fingerprint !== undefined && listed.includes(warm.fingerprint));
  }

  /** A stream on a connection that was up a moment ago; undefined when it proves dead, so that a fresh one is the answer. */
  async #tryOn(warm: WarmConnection, wait: Wait): Promise<Omit<IrohStream, 'warm'> | undefined> {
    try {
      return await warm.open(wait);
    } catch (error) {
      if (wait.signal.aborted || wait.deadline.remaining() <= 0) throw error;
      // Others were faster: it is full, not dead.
      if (warm.connection.isAlive() && !warm.connection.hasRoom()) return undefined;
      // Its other streams, if it has any, go on; nobody else gets it.
      this.#retire(warm);
      return undefined;
    }
  }

  /** Asks it for a sign of life; it may take no longer than the caller has. */
  #alive(warm: WarmConnection, { label, deadline, signal }: Wait): Promise<boolean> {
    const late = (): Failure => fail('iroh_connect_timeout', { label });
    return inTime(warm.healthCheck(), deadline.remaining(), late, { signal });
  }

  /** Waits for a dial, one's own or somebody's who would authenticate with the same agent. Undefined when another one has come through. */
  #dialled(route: IrohRoute, wait: Wait): Promise<WarmConnection | undefined> {
    const { label } = wait;
    return this.#dials.wait(dialKey(route), this.#dialOf(route, wait), wait, (step) =>
      fail(step === 'connecting' ? 'iroh_connect_timeout' : 'ssh_auth_timeout', { label }),
    );
  }

  #dialOf(route: IrohRoute, { label, link }: Named): Connect<WarmConnection> {
    return (dialling, through, isPassed) =>
      this.#connect(route, { label, link, ...dialling }, through, isPassed);
  }

  /** `through` is called when the host has answered. One that was passed on its way (Dials) has the streams of those who waited, and no others. */
  async #connect(
    route: IrohRoute,
    wait: Wait,
    through: () => void,
    isPassed: () => boolean,
  ): Promise<WarmConnection> {
    const { connection, fingerprint } = await this.#dialler.connect(route, wait, through);
    if (this.#closed) {
      connection.close().catch(ignore);
      throw fail('stopping');
    }
    const warm = new WarmConnection({ key: connectionKey(route), fingerprint, connection });
    if (isPassed()) warm.retire();
    this.#makeRoom();
    this.#warm.add(warm);
    this.#event({ type: 'connection made', target: askedFor(wait) });
    connection.closed.then(
      (reason) => {
        if (this.#warm.delete(warm)) this.#lost(warm, reason);
      },
      () => this.#warm.delete(warm),
    );
    return warm;
  }

  /**
   * It gives no sign of life. Nobody gets it until it does. Streams that live on it are not cut: the path may come back before QUIC
   * gives up (30 s); without any it is let go, and another one is made beside it.
   */
  #dead(warm: WarmConnection): void {
    if (!this.#warm.has(warm)) return;
    if (warm.connection.streams === 0) {
      this.#warm.delete(warm);
      warm.retire();
      warm.connection.close(0).catch(ignore);
    }
    this.#lost(warm, 'the host gives no sign of life');
  }

  #lost(warm: WarmConnection, why: string): void {
    if (this.#closed || warm.lossTold) return;
    warm.lossTold = true;
    const named = this.#reconnect.namedOf(warm.key);
    this.#event({
      type: 'connection lost',
      target: named === undefined ? warm.key : askedFor(named),
      detail: why,
    });
    this.#reconnect.lost(warm.key);
  }

  /** Over relays that are not set any more nothing new is sent: what was warm is made again over those of now. */
  #followRelays(): void {
    if (!this.#dialler.follow()) return;
    const ways = new Set([...this.#warm].filter(({ usable }) => usable).map(({ key }) => key));
    this.#leave();
    for (const way of ways) this.#reconnect.lost(way);
  }

  /** Lets go of the connections of a way (default: of all), and of those that are being made. */
  #leave(way?: string): void {
    this.#dials.pass((key) => way === undefined || key.startsWith(`${way}|`));
    for (const warm of this.#warm) if (way === undefined || warm.key === way) this.#retire(warm);
  }

  /** Takes a connection out of use. Closing it would end the streams that are still on it: the last one's end does that. */
  #retire(warm: WarmConnection): void {
    warm.retire();
    if (warm.connection.isAlive() && warm.connection.streams > 0) return;
    this.#warm.delete(warm);
    warm.connection.close().catch(ignore);
  }

  #makeRoom(): void {
    if (this.#warm.size < MAX_CONNECTIONS) return;
    const idle = [...this.#warm]
      .filter((warm) => warm.connection.streams === 0)
      .sort((a, b) => a.usedAt - b.usedAt);
    if (idle[0] !== undefined) this.#retire(idle[0]);
  }

  #reap(): void {
    this.#followRelays();
    const now = performance.now();
    for (const warm of this.#warm) {
      const warmth = this.#reconnect.warmthOf(warm.key);
      const keptMs = warmth === 'auto' ? this.#idleMs : warmth ? Infinity : NOT_KEPT_MS;
      const old = now - warm.usedAt > keptMs;
      const idle = warm.connection.streams === 0 && (!warm.usable || old);
      if (idle || !warm.connection.isAlive()) this.#retire(warm);
    }
  }
}

function ignore(): void {
  // A connection that is being let go may fail as it likes.
}
