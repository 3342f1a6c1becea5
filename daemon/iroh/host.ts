// The iroh host of one upstream: opens streams on its connections, dials when none can be used, and reconnects after a loss.
import { LIMITS } from '../base/limits.ts';
import type { Duplex } from 'node:stream';
import { inTime } from '../base/async/deadline.ts';
import { Failure } from '../base/failure.ts';
import type { Dialling } from '../transport/dialling.ts';
import { fail } from '../errors/fail.ts';
import { askedFor, type IrohRoute, type Route } from '../engine-protocol/plan.ts';
import { checkWay } from '../transport/iroh/way-check.ts';
import { Connections } from './connections.ts';
import { Dials, type Connect, type Step } from './dials.ts';
import { connectionKey, dialKey, type IrohDialler } from './dialler.ts';
import { Reconnect, type Named, type Unreferred, type Warmth } from './reconnect.ts';
import { WarmConnection } from './warm-connection.ts';

/** An event of the daemon (docs/control-socket.md). */
export interface ConnectionEvent {
  readonly type: 'connection made' | 'connection lost';
  readonly target: string;
  readonly detail?: string;
}

export interface IrohStream {
  readonly stream: Duplex;
  /** False when this request had to wait for a dial. */
  readonly warm: boolean;
  /** The connection of the stream. */
  readonly below: Pick<WarmConnection, 'doubtful' | 'helloAnswered'>;
}

/** The names of the target of a request, and the deadline and signal of the request. */
export interface NamedDialling extends Named, Dialling {}

export interface IrohHostOptions {
  /** Called with the result of each dial that no request waits for. */
  readonly tried?: (failure?: Failure) => void;
  /** Asks control where the share link that led to `route` leads now. False when control cannot be asked. */
  readonly ask?: (route: IrohRoute) => boolean;
}

/** What the former host of a target hands to its next host. */
export interface Handover {
  readonly route: IrohRoute;
  /** Undefined when the last request by the route was for another target. */
  readonly state: Unreferred | undefined;
}

/** What the hosts of an engine share. */
export interface SharedIroh {
  readonly dialler: IrohDialler;
  readonly event: (event: ConnectionEvent) => void;
  readonly warmth: (named: Named) => Warmth;
  /** ms for which an unused connection is kept. */
  readonly idleMs: number;
  /** Retires connections over relays that are no longer set. */
  readonly followRelays: () => void;
  /** When there are too many connections, retires the one that was unused for the longest time. */
  readonly makeRoom: () => void;
  readonly isClosed: () => boolean;
  /** Called when the host is closed. */
  readonly remove: (host: IrohHost) => void;
}

/** ms for which an unused connection is kept when its target is not kept warm. In this time the caller that dialled it opens a stream. */
const NOT_KEPT_MS = 1000;

/** One host may have several routes, which differ in relay and direct address. Each route has separate connections. */
export class IrohHost {
  readonly connections: Connections;
  readonly #shared: SharedIroh;
  readonly #dials = new Dials<WarmConnection>();
  readonly #reconnect: Reconnect;

  constructor(shared: SharedIroh, { tried = ignore, ask = () => false }: IrohHostOptions) {
    this.#shared = shared;
    const { dialler } = shared;
    this.connections = new Connections(dialler.agents);
    this.#reconnect = new Reconnect({
      isWarm: (route) => this.connections.isWarm(route),
      isUnattended: (route) => dialler.unattended(route) !== undefined,
      recentMs: shared.idleMs,
      warmth: shared.warmth,
      ask,
      tried,
      dial: (route, named) => {
        shared.followRelays();
        const alone = dialler.unattended(route) ?? route;
        return this.#dials.join(dialKey(alone), this.#dialOf(alone, named));
      },
    });
  }

  /** True while there is a connection, a dial, or a connection that will be made again. */
  get inUse(): boolean {
    return this.connections.size > 0 || this.#dials.keys().length > 0 || this.#reconnect.isWaiting;
  }

  /** True while a connection for `route` is being dialled, for any caller. */
  isDialling(route: IrohRoute): boolean {
    const key = connectionKey(route);
    return this.#dials.keys().some((dial) => dial.startsWith(`${key}|`));
  }

  /**
   * A new stream: on a warm connection when there is one that this caller may use and that has room, else on a new one.
   * Rejects with the failure of the dial, or of the step that was running when the caller's time was over.
   */
  async stream(route: IrohRoute, wait: NamedDialling): Promise<IrohStream> {
    let warm = true;
    this.#reconnect.used(connectionKey(route), route, wait);
    for (;;) {
      this.#shared.followRelays();
      const usable = await this.connections.find(route, wait);
      if (usable !== undefined && !usable.fresh && !(await this.#isAlive(usable, wait))) {
        this.markDead(usable);
        continue;
      }
      const opened = usable === undefined ? undefined : await this.#tryOn(usable, wait);
      if (opened !== undefined) return { ...opened, warm };
      if (usable !== undefined) continue;
      warm = false;
      const dialled = await this.#dialled(route, wait);
      if (dialled === undefined) continue;
      // More callers than it has room for may have waited: those that find none dial the next one.
      if (dialled.connection.hasRoom()) return { stream: await dialled.open(wait), below: dialled, warm };
      if (!dialled.connection.isAlive())
        throw fail('iroh_stream_failed', {}, new Error(await dialled.connection.closed));
    }
  }

  /**
   * A target no longer leads here by `route`, but to `now`, or nowhere. The connections of the route are retired, unless the last request by it
   * was for another target. Returns what the next host needs to reconnect; undefined when both routes use the same connections.
   */
  unrefer(route: IrohRoute, named: Named, now?: Route): Handover | undefined {
    const key = connectionKey(route);
    if (now?.transport === 'iroh' && connectionKey(now) === key) return undefined;
    const state = this.#reconnect.unrefer(key, named);
    if (state !== undefined) this.retire(key);
    return { route, state };
  }

  /** A target leads here now. When its connection is to be kept (`Warmth`), one is made here at once. */
  refer(route: IrohRoute, named: Named, from: Handover): void {
    this.#shared.dialler.moved(from.route, route);
    if (from.state !== undefined) this.#reconnect.refer(connectionKey(route), route, named, from.state);
  }

  /** Retires the connections for `route` without a reconnect. Streams on them go on. */
  drop(route: IrohRoute): void {
    this.#reconnect.forget(connectionKey(route));
    this.retire(connectionKey(route));
  }

  /** There is no reconnect any more for a target of these names. */
  forget(named: Named): void {
    this.#reconnect.forgetNamed(named);
  }

  /** Retires the connections and dials of a route (default: of all routes). Streams on them go on. */
  retire(key?: string): void {
    this.#dials.pass((dial) => key === undefined || dial.startsWith(`${key}|`));
    this.connections.retireAll(key);
  }

  /** No stream is opened here any more: there is no reconnect, and only connections with streams are kept. */
  retireForGood(): void {
    this.#reconnect.close();
    this.retire();
  }

  /** The setting of the relays has changed: connections over the former relays are retired, and made again over the new ones. */
  relaysChanged(): void {
    const keys = new Set([...this.connections].filter(({ usable }) => usable).map(({ key }) => key));
    this.retire();
    for (const key of keys) this.#reconnect.lost(key);
  }

  /**
   * The peer did not answer a health check. The connection is not used until the peer is heard again. Its streams go on, since the
   * network may come back, until `lose`. A connection without streams is closed. A reconnect begins.
   */
  markDead(warm: WarmConnection): void {
    if (!this.connections.has(warm)) return;
    this.connections.closeDead(warm);
    this.#lost(warm, 'the host does not answer');
  }

  /** The streams of a connection cannot go on: they fail at once. */
  lose(warm: WarmConnection, why: string): void {
    this.connections.delete(warm);
    this.#lost(warm, why);
    warm.connection.lose(why);
  }

  /** The network has changed, or the machine has slept: each connection is checked before its next use, and nobody waits to reconnect. */
  markStale(): void {
    for (const warm of this.connections) warm.markStale();
    this.#reconnect.hurry();
  }

  /** Closes connections that have been unused for too long, and retired ones without a stream. */
  reap(): void {
    this.connections.reap((key) => {
      const warmth = this.#reconnect.warmthOf(key);
      if (warmth === 'auto') return this.#shared.idleMs;
      return warmth ? Infinity : NOT_KEPT_MS;
    });
  }

  /** Aborts the dials and closes all connections, also those with streams. Never rejects. */
  async close(boundMs: number = LIMITS.endMs): Promise<void> {
    this.#reconnect.close();
    await this.#dials.close(fail('stopping'));
    await this.connections.close(boundMs);
    this.#shared.remove(this);
  }

  /** A stream on `warm`; undefined when the connection turns out to be dead or full, so that another one is needed. */
  async #tryOn(warm: WarmConnection, wait: NamedDialling): Promise<Omit<IrohStream, 'warm'> | undefined> {
    try {
      return { stream: await warm.open(wait), below: warm };
    } catch (error) {
      if (wait.signal.aborted || wait.deadline.remaining() <= 0) throw error;
      // Other callers have taken the room: the connection is full, not dead.
      if (warm.connection.isAlive() && !warm.connection.hasRoom()) return undefined;
      // Its other streams go on; no more streams are opened on it.
      this.connections.retire(warm);
      return undefined;
    }
  }

  /** Checks that the peer answers, at most until the caller's deadline. */
  #isAlive(warm: WarmConnection, { label, deadline, signal }: NamedDialling): Promise<boolean> {
    const late = (): Failure => fail('iroh_connect_timeout', { label });
    return inTime(warm.healthCheck(), deadline.remaining(), late, { signal });
  }

  /** Waits for a dial that this caller may share. Undefined when another dial of the route has reached the host first. */
  #dialled(route: IrohRoute, wait: NamedDialling): Promise<WarmConnection | undefined> {
    const { label } = wait;
    const way = checkWay(route, label);
    const late = (step: Step): Failure => {
      if (step === 'authenticating') return fail('ssh_auth_timeout', { label });
      return way.problem() ?? fail('iroh_connect_timeout', { label });
    };
    const wanted = this.#shared.warmth(wait) === true;
    return this.#dials
      .wait(dialKey(route), this.#dialOf(route, wait), wait, late, wanted)
      .catch((error: unknown) => {
        const unreached = error instanceof Failure && error.code === 'iroh_unreachable';
        throw unreached ? (way.problem() ?? error) : error;
      })
      .finally(way.stop);
  }

  /** A connection whose dial was passed (`Dials.pass`) is retired from the beginning: only the callers that waited for it open streams on it. */
  #dialOf(route: IrohRoute, { label, link }: Named): Connect<WarmConnection> {
    return async (dialling, through, isPassed) => {
      if (this.#shared.isClosed()) throw fail('stopping');
      const wait = { label, link, ...dialling };
      const { connection, fingerprint } = await this.#shared.dialler.connect(route, wait, through);
      if (this.#shared.isClosed()) {
        connection.close().catch(ignore);
        throw fail('stopping');
      }
      const warm = new WarmConnection({ key: connectionKey(route), fingerprint, connection });
      if (isPassed()) warm.retire();
      this.#shared.makeRoom();
      this.connections.add(warm);
      this.#shared.event({ type: 'connection made', target: askedFor(wait) });
      connection.closed.then(
        (reason) => {
          if (this.connections.delete(warm)) this.#lost(warm, reason);
        },
        () => this.connections.delete(warm),
      );
      return warm;
    };
  }

  #lost(warm: WarmConnection, why: string): void {
    if (this.#shared.isClosed() || warm.lossTold) return;
    warm.lossTold = true;
    const named = this.#reconnect.namedOf(warm.key);
    const target = named === undefined ? warm.key : askedFor(named);
    this.#shared.event({ type: 'connection lost', target, detail: why });
    this.#reconnect.lost(warm.key);
  }
}

function ignore(): void {
  // A connection that is being retired may fail in any way.
}
