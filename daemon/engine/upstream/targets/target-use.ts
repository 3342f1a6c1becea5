// One target that leads to a server: where it is asked for, its streams, and its own failures.
import type { Clock } from '../../../base/async/clock.ts';
import type { Destination, Route } from '../../../engine-protocol/plan.ts';
import { TargetHealth } from './health.ts';

/** Contexts of one target; the least recently used are removed first. */
const MAX_CONTEXTS = 16;
/** ms after which a target that nobody has asked for leaves the status, unless there are connections for it. */
const FORGOTTEN_MS = 10 * 60_000;

export class TargetUse {
  /** The name that it was asked for by. */
  readonly target: string;
  readonly health: TargetHealth;
  readonly #clock: Clock;
  /** Contexts in which the target leads here, the least recently used first. In another context it may lead to another server. */
  readonly #contexts = new Set<string>();
  #route: Route;
  #link: string | undefined;
  /** Streams that are being opened, and live ones. */
  #opening = 0;
  #streams = 0;
  /** True when the target leads here in no context any more. */
  #abandoned = false;
  /** True when the target was dropped, and was not asked for since. */
  #dropped = false;
  /** When the target was asked for, ms since 1970. */
  #askedAtMs = 0;

  constructor(target: string, { route, link }: Pick<Destination, 'route' | 'link'>, clock: Clock) {
    this.target = target;
    this.health = new TargetHealth(clock);
    this.#route = route;
    this.#link = link;
    this.#clock = clock;
  }

  /** The latest route of the target. */
  get route(): Route {
    return this.#route;
  }

  get link(): string | undefined {
    return this.#link;
  }

  get isOpening(): boolean {
    return this.#opening > 0;
  }

  /** Live streams. */
  get streams(): number {
    return this.#streams;
  }

  /** True when nobody asks for the target here any more. */
  get isOver(): boolean {
    return this.#abandoned || this.#dropped || this.#clock.now() - this.#askedAtMs > FORGOTTEN_MS;
  }

  /** See `References.note`. */
  note({ route, link, context }: Destination): void {
    this.#route = route;
    this.#link = link;
    this.#dropped = false;
    this.#askedAtMs = this.#clock.now();
    this.#contexts.delete(context);
    this.#contexts.add(context);
    const [oldest] = this.#contexts;
    if (this.#contexts.size > MAX_CONTEXTS && oldest !== undefined) this.#contexts.delete(oldest);
  }

  /** Counts a stream that is being opened, until the returned function is called, once. */
  open(): () => void {
    this.#opening += 1;
    return () => {
      this.#opening -= 1;
    };
  }

  /** Counts a live stream, until the returned function is called, once. */
  hold(): () => void {
    this.#streams += 1;
    return () => {
      this.#streams -= 1;
    };
  }

  /** The target leads here: it is no longer abandoned. */
  confirm(): void {
    this.#abandoned = false;
  }

  /** The target was dropped: the next request shows whether it still fails. */
  drop(): void {
    this.#dropped = true;
    this.health.forgetFailure();
  }

  /** The target no longer leads here in this context. False when it did not. */
  removeContext(context: string): boolean {
    if (!this.#contexts.delete(context)) return false;
    if (this.#contexts.size === 0) this.#abandoned = true;
    return true;
  }

  /** A context has another name, since the config has changed. */
  renameContext(before: string, now: string): void {
    if (this.#contexts.delete(before)) this.#contexts.add(now);
  }
}
