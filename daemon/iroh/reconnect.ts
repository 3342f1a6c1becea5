// Lost connections are made again in the background while their last use is recent, with growing pauses.
import type { Failure } from '../base/failure.ts';
import { LruMap } from '../base/lru-map.ts';
import { asFailure } from '../errors/fail.ts';
import { askedFor, type IrohRoute } from '../engine-protocol/plan.ts';

/** What a person calls a target: the name in texts, and the share link that led to it. */
export interface Named {
  readonly label: string;
  readonly link?: string | undefined;
}

/** Whether a target's connection is kept: used or not, after a use, or not at all. */
export type Warmth = boolean | 'auto';

export interface ReconnectOptions {
  readonly dial: (route: IrohRoute, named: Named) => Promise<unknown>;
  /** Called with the result of each dial. */
  readonly tried: (failure?: Failure) => void;
  readonly isWarm: (route: IrohRoute) => boolean;
  /** True where a dial asks no person: an SSH key may want its use confirmed, and nobody is there to do that. */
  readonly isUnattended: (route: IrohRoute) => boolean;
  /** ms after its last use that a route is worth a dial that no request waits for. */
  readonly recentMs: number;
  readonly warmth: (named: Named) => Warmth;
  /** A share link led here: asks where it leads now. False when nobody can tell; else `unrefer` may follow. */
  readonly ask: (route: IrohRoute) => boolean;
}

/** What is known of one route to the host. */
interface RouteState {
  readonly route: IrohRoute;
  readonly named: Named;
  /** performance.now() of the last stream that a caller opened. */
  usedAt: number;
  /** Tries in a row that failed, or whose connection did not last. */
  tries: number;
  /** performance.now() of the last try that came through. */
  madeAt: number | undefined;
  /** When it was last asked where the link leads, and whether somebody could tell. */
  lookup: { readonly at: number; readonly answered: boolean } | undefined;
  /** The target that led here leads somewhere else now. For another target a connection is made by its next use. */
  unreferred: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** The state of a route that its target no longer uses, for the route that it uses now. */
export type Unreferred = Pick<RouteState, 'named' | 'usedAt' | 'tries' | 'lookup'>;

/** ms before the first try and between later ones, doubling up to the second. */
const FIRST_MS = 250;
const LAST_MS = 30_000;
/** ms after which a connection has lasted: the next tries begin anew. */
const LASTED_MS = 10_000;
/** ms between two questions where a link leads: each is a lookup at the control plane. */
const LOOKUP_MS = 5000;
/** Tries at a share link's host when nobody can tell where the link leads: the next request finds that out. */
const LINK_TRIES = 3;
/** Routes of one host; the least recently used go first. */
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

  /** True while a connection will be made again. */
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
   * The target no longer leads here: no connection is made again until a caller uses the route. Undefined when that was known, or when another
   * target has used the route last.
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

  /** A target leads here now. When its former route was wanted, a connection is made here, unless there is one. */
  refer(key: string, route: IrohRoute, named: Named, from: Unreferred): void {
    if (this.#closed || !this.#isWanted(from)) return;
    const known = this.#routes.peek(key);
    clearTimeout(known?.timer);
    const state: RouteState = {
      route,
      named: known === undefined || known.unreferred ? named : known.named,
      usedAt: Math.max(from.usedAt, known?.usedAt ?? 0),
      // A link that leads to and fro between two dead hosts is no reason to hurry.
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

  /** The connection of this route is gone. */
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

  /** Nobody wants a connection by this route any more. */
  forget(key: string): void {
    clearTimeout(this.#routes.peek(key)?.timer);
    this.#routes.delete(key);
  }

  /** Nobody wants a connection for this target any more, by whichever route it was used last. */
  forgetNamed(named: Named): void {
    for (const [key, state] of this.#routes) if (askedFor(state.named) === askedFor(named)) this.forget(key);
  }

  /** What the target was called when the route was last used. */
  namedOf(key: string): Named | undefined {
    return this.#routes.peek(key)?.named;
  }

  /** Whether a connection by this route is kept: as its target has it, and none when nothing is made again any more. */
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

  /** False when nobody can tell where the link leads. */
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
      Math.min(LAST_MS, FIRST_MS * 2 ** state.tries),
    );
    state.timer.unref();
  }

  #try(key: string, state: RouteState): void {
    const now = this.#routes.peek(key) ?? state;
    now.timer = undefined;
    if (this.#closed || this.#options.isWarm(state.route)) return;
    // Since the loss a person may have been asked.
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
