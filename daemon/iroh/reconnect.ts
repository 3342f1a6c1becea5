// Lost connections are made again in the background while their last use is recent, with growing pauses.
import type { Failure } from '../base/failure.ts';
import { asFailure } from '../errors/fail.ts';
import { askedFor, type IrohRoute } from '../engine-protocol/plan.ts';

/** What a person calls a way: the name in texts, and the share link that led to it. */
export interface Named {
  readonly label: string;
  readonly link?: string | undefined;
}

/** Whether a target's connection is kept: used or not, after a use, or not at all. */
export type Warmth = boolean | 'auto';

export interface ReconnectOptions {
  readonly dial: (route: IrohRoute, named: Named) => Promise<unknown>;
  /** Told how each dial ended. */
  readonly tried: (route: IrohRoute, failure?: Failure) => void;
  readonly isWarm: (route: IrohRoute) => boolean;
  /** True where a dial asks nobody: a key may want its use confirmed, and nobody is there to do that. */
  readonly isUnattended: (route: IrohRoute) => boolean;
  /** ms after its last use that a way is worth a dial that nobody asked for. */
  readonly recentMs: number;
  readonly warmth: (named: Named) => Warmth;
  /** A share link led here: asks where it leads now. False when nobody can tell; else `moved` may follow. */
  readonly ask: (route: IrohRoute) => boolean;
}

interface Way {
  readonly route: IrohRoute;
  readonly named: Named;
  /** performance.now() of the last stream that somebody asked for. */
  usedAt: number;
  /** Tries in a row that failed, or whose connection did not last. */
  tries: number;
  /** performance.now() of the last try that came through. */
  madeAt: number | undefined;
  /** When it was last asked where the link leads, and whether somebody could tell. */
  asked: { readonly at: number; readonly answer: boolean } | undefined;
  /** What led here leads elsewhere by now. Another target that still leads here is made warm again by its next use. */
  left: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** ms before the first try and between later ones, doubling up to the second. */
const FIRST_MS = 250;
const LAST_MS = 30_000;
/** ms after which a connection has lasted: the next tries begin anew. */
const LASTED_MS = 10_000;
/** ms between two questions where a link leads: each is a lookup at the control plane. */
const ASK_MS = 5000;
/** Tries where a share link led that nobody can ask anew: it may lead elsewhere by now, and whoever asks next finds out. */
const LINK_TRIES = 3;
/** Ways remembered at once; the least recently used go first. */
const MAX_WAYS = 64;

export class Reconnect {
  readonly #options: ReconnectOptions;
  readonly #ways = new Map<string, Way>();
  #closed = false;

  constructor(options: ReconnectOptions) {
    this.#options = options;
  }

  /** Somebody asked for a stream on this way. */
  used(key: string, route: IrohRoute, { label, link }: Named): void {
    if (this.#closed) return;
    const known = this.#ways.get(key);
    this.#put(key, {
      route,
      named: { label, link },
      usedAt: performance.now(),
      tries: 0,
      madeAt: undefined,
      asked: known?.asked,
      left: false,
      timer: known?.timer,
    });
  }

  /** What led this way leads there no more: it is made again when somebody asks for it. False when that is nothing new, or others have used it last. */
  left(key: string, named: Named): boolean {
    const way = this.#ways.get(key);
    if (way === undefined || way.left || askedFor(way.named) !== askedFor(named)) return false;
    way.left = true;
    clearTimeout(way.timer);
    way.timer = undefined;
    return true;
  }

  /** As `left`, and leads another way now. Where the former one is wanted, the new one is made, unless it is there. */
  moved(from: string, to: string, route: IrohRoute, named: Named): boolean {
    const before = this.#ways.get(from);
    if (before === undefined || !this.left(from, named)) return false;
    if (this.#isWanted(before)) this.#follow(before, to, route, named);
    return true;
  }

  #follow(before: Way, to: string, route: IrohRoute, named: Named): void {
    const known = this.#ways.get(to);
    clearTimeout(known?.timer);
    const way: Way = {
      route,
      named: known === undefined || known.left ? named : known.named,
      usedAt: Math.max(before.usedAt, known?.usedAt ?? 0),
      // A link that leads to and fro between two dead ends is no reason to hurry.
      tries: Math.max(before.tries, known?.tries ?? 0),
      madeAt: known?.madeAt,
      asked: before.asked,
      left: false,
      timer: undefined,
    };
    this.#put(to, way);
    if (!this.#options.isUnattended(route)) return;
    if (way.tries <= 1) this.#try(to, way);
    else this.#tryLater(to, way);
  }

  /** Its connection is gone. */
  lost(key: string): void {
    const way = this.#ways.get(key);
    if (this.#closed || way === undefined || way.timer !== undefined) return;
    if (!this.#options.isUnattended(way.route)) return;
    if (way.madeAt !== undefined && performance.now() - way.madeAt > LASTED_MS) way.tries = 0;
    way.madeAt = undefined;
    if (way.left || !this.#isWanted(way) || this.#options.isWarm(way.route)) return;
    if (way.named.link !== undefined && !this.#ask(way) && way.tries >= LINK_TRIES) return;
    this.#tryLater(key, way);
  }

  /** Nobody wants it any more, wherever it leads now or led before. */
  forget(key: string, named: Named): void {
    for (const [other, way] of this.#ways) {
      if (other !== key && askedFor(way.named) !== askedFor(named)) continue;
      clearTimeout(way.timer);
      this.#ways.delete(other);
    }
  }

  /** What the way was called when it was last used. */
  namedOf(key: string): Named | undefined {
    return this.#ways.get(key)?.named;
  }

  /** Whether a connection on this way is kept: as its target has it, and none when nothing is made again any more. */
  warmthOf(key: string): Warmth {
    if (this.#closed) return false;
    const named = this.namedOf(key);
    return named === undefined ? 'auto' : this.#options.warmth(named);
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#ways.values()) clearTimeout(timer);
    this.#ways.clear();
  }

  #isWanted({ usedAt, named }: Way): boolean {
    const warmth = this.#options.warmth(named);
    return warmth === 'auto' ? performance.now() - usedAt < this.#options.recentMs : warmth;
  }

  #put(key: string, way: Way): void {
    this.#ways.delete(key);
    this.#ways.set(key, way);
    const [oldest] = this.#ways;
    if (this.#ways.size > MAX_WAYS && oldest !== undefined) {
      clearTimeout(oldest[1].timer);
      this.#ways.delete(oldest[0]);
    }
  }

  /** False when nobody can tell where its link leads. */
  #ask(way: Way): boolean {
    const now = performance.now();
    if (way.asked === undefined || now - way.asked.at >= ASK_MS)
      way.asked = { at: now, answer: this.#options.ask(way.route) };
    return way.asked.answer;
  }

  #tryLater(key: string, way: Way): void {
    way.timer = setTimeout(
      () => {
        this.#try(key, way);
      },
      Math.min(LAST_MS, FIRST_MS * 2 ** way.tries),
    );
    way.timer.unref();
  }

  #try(key: string, way: Way): void {
    const now = this.#ways.get(key) ?? way;
    now.timer = undefined;
    if (this.#closed || this.#options.isWarm(way.route)) return;
    // Since it was lost somebody may have been asked.
    if (!this.#options.isUnattended(way.route)) return;
    now.tries += 1;
    this.#options.dial(way.route, way.named).then(
      () => {
        now.madeAt = performance.now();
        this.#options.tried(way.route);
      },
      (error: unknown) => {
        if (!this.#closed) this.#options.tried(way.route, asFailure(error));
        this.lost(key);
      },
    );
  }
}
