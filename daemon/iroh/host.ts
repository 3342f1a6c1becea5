// The iroh connections of one upstream: streams are opened on a warm connection, and a lost connection is made again.
import type { Duplex } from 'node:stream';
import { inTime } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import type { Dialling } from '../transport/dialling.ts';
import { fail } from '../errors/fail.ts';
import { askedFor, type IrohRoute, type Route } from '../engine-protocol/plan.ts';
import { Connections } from './connections.ts';
import { Dials, type Connect } from './dials.ts';
import { connectionKey, dialKey, type IrohDialler } from './dialler.ts';
import { Reconnect, type Named, type Unreferred, type Warmth } from './reconnect.ts';
import { WarmConnection } from './warm-connection.ts';

/** An event for those who follow the daemon's events. */
export interface ConnectionEvent {
  readonly type: 'connection made' | 'connection lost';
  readonly target: string;
  readonly detail?: string;
}

export interface IrohStream {
  readonly stream: Duplex;
  /** False when this request had to wait for a dial. */
  readonly warm: boolean;
  /** True when the connection has received nothing for a while since the stream was opened, although an acknowledgement was due. */
  readonly doubtful: () => boolean;
}

/** The names of a caller's request, and its limits. */
export interface Wait extends Named, Dialling {}

export interface IrohHostOptions {
  /** Called with the result of each dial that no request waits for. */
  readonly tried?: (failure?: Failure) => void;
  /** Asks where the share link that led to `route` leads now; false when nobody can tell. */
  readonly ask?: (route: IrohRoute) => boolean;
}

/** What a host hands to the one to which a target leads now. */
export interface Handover {
  readonly route: IrohRoute;
  /** Undefined when the target has not used the former host last. */
  readonly state: Unreferred | undefined;
}

/** What the hosts of an engine share. */
export interface SharedIroh {
  readonly dialler: IrohDialler;
  readonly event: (event: ConnectionEvent) => void;
  readonly warmth: (named: Named) => Warmth;
  /** ms that an unused connection is kept. */
  readonly idleMs: number;
  /** Retires connections over relays that are no longer set. */
  readonly followRelays: () => void;
  /** Marks all connections as stale when the clock has jumped. */
  readonly noticeJump: () => void;
  /** Retires the connection that was unused for longest when there are too many. */
  readonly makeRoom: () => void;
  readonly isClosed: () => boolean;
  /** Called when the host is closed. */
  readonly remove: (host: IrohHost) => void;
}

/** ms that an unused connection stays when its target is not to be kept warm. Its caller opens a stream meanwhile. */
const NOT_KEPT_MS = 1000;

/** One host may have several routes, which differ in relay and direct address. Each route has connections of its own. */
export class IrohHost {
  readonly connections = new Connections();
  readonly #shared: SharedIroh;
  readonly #dials = new Dials<WarmConnection>();
  readonly #reconnect: Reconnect;

  constructor(shared: SharedIroh, { tried = ignore, ask = () => false }: IrohHostOptions) {
    this.#shared = shared;
    const { dialler } = shared;
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
        return this.#dials.join(dialKey(alone), this.#dialOf(alone, named)).done;
      },
    });
  }

  /** True while there is a connection, a dial, or a connection that will be made again. */
  get inUse(): boolean {
    return this.connections.size > 0 || this.#dials.keys().length > 0 || this.#reconnect.isWaiting;
  }

  /** True while a connection for `route` is being made, whoever asked for it. */
  isDialling(route: IrohRoute): boolean {
    const key = connectionKey(route);
    return this.#dials.keys().some((dial) => dial.startsWith(`${key}|`));
  }

  /**
   * A new stream: on a warm connection when there is one that this caller may use and that has room, else on a new one.
   * Rejects with the failure of the dial, or of the step that was running when the caller's time was over.
   */
  async stream(route: IrohRoute, wait: Wait): Promise<IrohStream> {
    let warm = true;
    this.#reconnect.used(connectionKey(route), route, wait);
    for (;;) {
      this.#shared.noticeJump();
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
      if (dialled.connection.hasRoom()) return { ...(await dialled.open(wait)), warm };
      if (!dialled.connection.isAlive())
        throw fail('iroh_stream_failed', {}, new Error(await dialled.connection.closed));
    }
  }

  /**
   * A target no longer leads here by `route`, but to `now`, or nowhere. Connections by the route are retired, unless another target has used
   * them last. Returns what the next host needs to be as warm; undefined when both routes use the same connections.
   */
  unrefer(route: IrohRoute, named: Named, now?: Route): Handover | undefined {
    const key = connectionKey(route);
    if (now?.transport === 'iroh' && connectionKey(now) === key) return undefined;
    const state = this.#reconnect.unrefer(key, named);
    if (state !== undefined) this.retire(key);
    return { route, state };
  }

  /** A target leads here now. When it was kept warm at its former host, a connection is made here at once. */
  refer(route: IrohRoute, named: Named, from: Handover): void {
    this.#shared.dialler.moved(from.route, route);
    if (from.state !== undefined) this.#reconnect.refer(connectionKey(route), route, named, from.state);
  }

  /** Retires the connections for `route`, which are not made again; streams on them live on. */
  drop(route: IrohRoute): void {
    this.#reconnect.forget(connectionKey(route));
    this.retire(connectionKey(route));
  }

  /** No connection is made again for a target of these names. */
  forget(named: Named): void {
    this.#reconnect.forgetNamed(named);
  }

  /** Retires the connections and dials of a route (default: of all). Streams on them live on. */
  retire(key?: string): void {
    this.#dials.pass((dial) => key === undefined || dial.startsWith(`${key}|`));
    this.connections.retireAll(key);
  }

  /** No stream is opened here any more: nothing is made again, and only connections with streams on them are kept. */
  retireForGood(): void {
    this.#reconnect.close();
    this.retire();
  }

  /** The relays that are set have changed: connections over the former ones are retired and made again. */
  relaysChanged(): void {
    const keys = new Set([...this.connections].filter(({ usable }) => usable).map(({ key }) => key));
    this.retire();
    for (const key of keys) this.#reconnect.lost(key);
  }

  /**
   * The peer did not answer. Nobody gets the connection until it does. Streams that live on it are not cut, since the path may come back
   * before QUIC gives up (30 s). A connection without streams is closed. Another one is made beside it.
   */
  markDead(warm: WarmConnection): void {
    if (!this.connections.has(warm)) return;
    this.connections.closeDead(warm);
    this.#lost(warm, 'the host does not answer');
  }

  /** Closes connections that have been unused for long, and those that were retired and have no stream left. */
  reap(): void {
    this.connections.reap((key) => {
      const warmth = this.#reconnect.warmthOf(key);
      if (warmth === 'auto') return this.#shared.idleMs;
      return warmth ? Infinity : NOT_KEPT_MS;
    });
  }

  /** Aborts the dials and closes the connections, whatever is on them. Never rejects. */
  async close(): Promise<void> {
    this.#reconnect.close();
    await this.#dials.close(fail('stopping'));
    await this.connections.close();
    this.#shared.remove(this);
  }

  /** A stream on a connection that was up a moment ago; undefined when it is dead or full, so that another one is needed. */
  async #tryOn(warm: WarmConnection, wait: Wait): Promise<Omit<IrohStream, 'warm'> | undefined> {
    try {
      return await warm.open(wait);
    } catch (error) {
      if (wait.signal.aborted || wait.deadline.remaining() <= 0) throw error;
      // Others were faster: it is full, not dead.
      if (warm.connection.isAlive() && !warm.connection.hasRoom()) return undefined;
      // Its other streams, if it has any, go on; nobody else gets it.
      this.connections.retire(warm);
      return undefined;
    }
  }

  /** Checks that the peer answers; that may take no longer than the caller has. */
  #isAlive(warm: WarmConnection, { label, deadline, signal }: Wait): Promise<boolean> {
    const late = (): Failure => fail('iroh_connect_timeout', { label });
    return inTime(warm.healthCheck(), deadline.remaining(), late, { signal });
  }

  /** Waits for a dial that this caller may share. Undefined when another dial has come through. */
  #dialled(route: IrohRoute, wait: Wait): Promise<WarmConnection | undefined> {
    const { label } = wait;
    return this.#dials.wait(dialKey(route), this.#dialOf(route, wait), wait, (step) =>
      fail(step === 'connecting' ? 'iroh_connect_timeout' : 'ssh_auth_timeout', { label }),
    );
  }

  /** A connection that was passed while it was being made (Dials) has the streams of those who waited for it, and no others. */
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
