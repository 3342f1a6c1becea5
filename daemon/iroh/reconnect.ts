// Reconnects in the background: a lost connection is made again while its last use is recent, with growing pauses between attempts.
import { pauseAfter, type Random } from '../base/async/backoff.ts';
import type { Failure } from '../base/failure.ts';
import { LruMap } from '../base/lru-map.ts';
import { asFailure } from '../errors/fail.ts';
import { askedFor, type IrohRoute } from '../engine-protocol/plan.ts';

/** The names of a target: the label in texts, and the share link that led to it. */
export interface Named {
  readonly label: string;
  readonly link?: string | undefined;
}

/** Whether the connection of a target is kept: always (true), for some time after a use (auto), or not (false). */
export type Warmth = boolean | 'auto';

export interface ReconnectOptions {
  readonly dial: (route: IrohRoute, named: Named) => Promise<unknown>;
  /** Called with the result of each dial. */
  readonly tried: (failure?: Failure) => void;
  readonly isWarm: (route: IrohRoute) => boolean;
  /** True when a dial asks no person. In the background nobody can confirm the use of an SSH key. */
  readonly isUnattended: (route: IrohRoute) => boolean;
  /** ms after its last use for which a route is reconnected. */
  readonly recentMs: number;
  readonly warmth: (named: Named) => Warmth;
  /** Asks control where the share link that led to `route` leads now. False when control cannot be asked; otherwise `unrefer` may follow. */
  readonly ask: (route: IrohRoute) => boolean;
  /** Spreads the pauses between attempts. Default: Math.random. */
  readonly random?: Random;
}

/** The state of one route to the host. */
interface RouteState {
  readonly route: IrohRoute;
  readonly named: Named;
  /** performance.now() when a caller last opened a stream. */
  usedAt: number;
  /** Attempts in a row that failed, or whose connection was lost soon. */
  tries: number;
  /** performance.now() of the last attempt that succeeded; undefined after the loss of its connection. */
  madeAt: number | undefined;
  /** The last question where the link leads: performance.now(), and whether control could be asked. */
  lookup: { readonly at: number; readonly answered: boolean } | undefined;
  /** True when the target leads to another route now. Then there is no reconnect until a request uses this route. */
  unreferred: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** The state that a route hands to the next route of its target. */
export type Unreferred = Pick<RouteState, 'named' | 'usedAt' | 'tries' | 'lookup'>;

/** The pauses before each attempt. */
const PAUSES = { firstMs: 250, lastMs: 30_000 } as const;
/** ms after which a connection has lasted. After its loss the pauses begin with the first one again. */
const LASTED_MS = 10_000;
/** ms between two questions where a link leads, since each is a lookup at bmux's control plane. */
const LOOKUP_MS = 5000;
/** Attempts at the host of a share link when control cannot be asked where it leads. After them the next request resolves the link. */
const LINK_TRIES = 3;
/** Routes of one host; the least recently used are removed first. */
const MAX_ROUTES = 16;

export class Reconnect {
  readonly #options: ReconnectOptions;
  /** By `connectionKey`. */
  readonly #routes = new LruMap<string, RouteState>(MAX_ROUTES, ({ timer }) => {
    clearTimeout(timer);
  });
  #closed = false;

  constructor(options: ReconnectOptions) {
    this.#options = options;
  }

  /** True while an attempt is scheduled. */
  get isWaiting(): boolean {
    return [...this.#routes.values()].some(({ timer }) => timer !== undefined);
  }

  /** A caller opens a stream by this route. */
  used(key: string, route: IrohRoute, { label, link }: Named): void {
    if (this.#closed) return;
    const known = this.#routes.peek(key);
    this.#routes.set(key, {
      route,
      named: { label, link },
      usedAt: performance.now(),
      tries: 0,
      madeAt: undefined,
      lookup: known?.lookup,
      unreferred: false,
      timer: known?.timer,
    });
  }

  /**
   * The target no longer leads here: there is no reconnect until a caller uses the route. Returns undefined when that is so already, or when
   * the last request by the route was for another target.
   */
  unrefer(key: string, named: Named): Unreferred | undefined {
    const state = this.#routes.peek(key);
    if (state === undefined || state.unreferred || askedFor(state.named) !== askedFor(named))
      return undefined;
    state.unreferred = true;
    clearTimeout(state.timer);
    state.timer = undefined;
    return state;
  }

  /** A target leads here now. When its former route was wanted, a connection is made by this one, unless there is one already. */
  refer(key: string, route: IrohRoute, named: Named, from: Unreferred): void {
    if (this.#closed || !this.#isWanted(from)) return;
    const known = this.#routes.peek(key);
    clearTimeout(known?.timer);
    const state: RouteState = {
      route,
      named: known === undefined || known.unreferred ? named : known.named,
      usedAt: Math.max(from.usedAt, known?.usedAt ?? 0),
      // The larger number, so that pauses also grow when a link alternates between two dead hosts.
      tries: Math.max(from.tries, known?.tries ?? 0),
      madeAt: known?.madeAt,
      lookup: from.lookup,
      unreferred: false,
      timer: undefined,
    };
    this.#routes.set(key, state);
    if (!this.#options.isUnattended(route)) return;
    if (state.tries <= 1) this.#try(key, state);
    else this.#tryLater(key, state);
  }

  /** The connection of this route is lost, or an attempt has failed. */
  lost(key: string): void {
    const state = this.#routes.peek(key);
    if (this.#closed || state === undefined || state.timer !== undefined) return;
    if (!this.#options.isUnattended(state.route)) return;
    if (state.madeAt !== undefined && performance.now() - state.madeAt > LASTED_MS) state.tries = 0;
    state.madeAt = undefined;
    if (state.unreferred || !this.#isWanted(state) || this.#options.isWarm(state.route)) return;
    if (state.named.link !== undefined && !this.#ask(state) && state.tries >= LINK_TRIES) return;
    this.#tryLater(key, state);
  }

  /** The network has changed: attempts that are scheduled are made now. */
  hurry(): void {
    for (const [key, state] of this.#routes) {
      if (state.timer === undefined) continue;
      clearTimeout(state.timer);
      this.#try(key, state);
    }
  }

  /** Removes the route and its scheduled attempt. */
  forget(key: string): void {
    clearTimeout(this.#routes.peek(key)?.timer);
    this.#routes.delete(key);
  }

  /** Removes all routes that were last used for this target. */
  forgetNamed(named: Named): void {
    for (const [key, state] of this.#routes) if (askedFor(state.named) === askedFor(named)) this.forget(key);
  }

  /** The names of the target for which the route was last used. */
  namedOf(key: string): Named | undefined {
    return this.#routes.peek(key)?.named;
  }

  /** Whether a connection by this route is kept: as set for its target; false after `close`. */
  warmthOf(key: string): Warmth {
    if (this.#closed) return false;
    const named = this.namedOf(key);
    return named === undefined ? 'auto' : this.#options.warmth(named);
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#routes.values()) clearTimeout(timer);
    this.#routes.clear();
  }

  #isWanted({ usedAt, named }: Unreferred): boolean {
    const warmth = this.#options.warmth(named);
    return warmth === 'auto' ? performance.now() - usedAt < this.#options.recentMs : warmth;
  }

  /** False when control cannot be asked where the link leads. */
  #ask(state: RouteState): boolean {
    const now = performance.now();
    if (state.lookup === undefined || now - state.lookup.at >= LOOKUP_MS)
      state.lookup = { at: now, answered: this.#options.ask(state.route) };
    return state.lookup.answered;
  }

  #tryLater(key: string, state: RouteState): void {
    state.timer = setTimeout(
      () => {
        this.#try(key, state);
      },
      pauseAfter(state.tries, PAUSES, this.#options.random),
    );
    state.timer.unref();
  }

  #try(key: string, state: RouteState): void {
    const now = this.#routes.peek(key) ?? state;
    now.timer = undefined;
    if (this.#closed || this.#options.isWarm(state.route)) return;
    // Checked again: since the loss the agent may have asked a person.
    if (!this.#options.isUnattended(state.route)) return;
    now.tries += 1;
    this.#options.dial(state.route, state.named).then(
      () => {
        now.madeAt = performance.now();
        this.#options.tried();
      },
      (error: unknown) => {
        if (!this.#closed) this.#options.tried(asFailure(error));
        this.lost(key);
      },
    );
  }
}
