// The references to one server: target sockets that lead to it, the latest target and its contexts, and the streams that are being opened.
import type { Clock } from '../../base/async/clock.ts';
import { askedFor, type Destination, type Route } from '../../engine-protocol/plan.ts';

/** Contexts of one server; the least recently used are removed first. */
const MAX_CONTEXTS = 16;
/** ms after which a server that nobody has asked for leaves the status, unless there are connections to it. */
const FORGOTTEN_MS = 10 * 60_000;

export class References {
  /** The target of the last request, warm-up or spare. Undefined until there was one. */
  #latest: { readonly target: string; readonly route: Route; readonly link: string | undefined } | undefined;
  /** Contexts in which the latest target leads here, the least recently used first. In another context it may lead to another server. */
  readonly #contexts = new Set<string>();
  /** Number of target sockets that lead here. */
  #targetSockets = 0;
  /** Streams that are being opened. */
  #opening = 0;
  /** True when the latest target leads here in no context any more. */
  #abandoned = false;
  /** True when the latest target was dropped, and was not asked for since. */
  #dropped = false;
  /** When the latest target was asked for, ms since 1970. */
  #askedAtMs = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The name of the latest target; undefined when there was no request yet. */
  get target(): string | undefined {
    return this.#latest?.target;
  }

  /** The latest route to the server. */
  get route(): Route | undefined {
    return this.#latest?.route;
  }

  get link(): string | undefined {
    return this.#latest?.link;
  }

  get isOpening(): boolean {
    return this.#opening > 0;
  }

  /** True when nobody asks for the latest target here any more. The status shows the server until its last connection is closed. */
  get isOver(): boolean {
    return this.#abandoned || this.#dropped || this.#clock.now() - this.#askedAtMs > FORGOTTEN_MS;
  }

  get hasTargetSockets(): boolean {
    return this.#targetSockets > 0;
  }

  /**
   * Records `destination` as the latest target. An abandoned server stays abandoned, since the request may have begun before the target moved:
   * only a stream that was opened shows that a target leads here (`confirm`).
   */
  note(destination: Destination): void {
    const target = askedFor(destination);
    if (this.#latest?.target !== target) this.#contexts.clear();
    const { route, link, context } = destination;
    this.#latest = { target, route, link };
    this.#dropped = false;
    this.#askedAtMs = this.#clock.now();
    this.#contexts.delete(context);
    this.#contexts.add(context);
    const [oldest] = this.#contexts;
    if (this.#contexts.size > MAX_CONTEXTS && oldest !== undefined) this.#contexts.delete(oldest);
  }

  /** As `note`, for a stream that is being opened. The returned function must be called once, when that is over. */
  open(destination: Destination): () => void {
    this.note(destination);
    this.#opening += 1;
    return () => {
      this.#opening -= 1;
    };
  }

  /** A target leads here: the server is no longer abandoned. */
  confirm(): void {
    this.#abandoned = false;
  }

  /** The target was dropped. */
  drop(): void {
    this.#dropped = true;
  }

  addTargetSocket(): void {
    this.#targetSockets += 1;
  }

  /** Returns true when it was the last one. */
  removeTargetSocket(): boolean {
    this.#targetSockets = Math.max(0, this.#targetSockets - 1);
    return this.#targetSockets === 0;
  }

  /** The target no longer leads here in this context. Returns false when it is not the latest target, or did not lead here in the context. */
  remove(destination: Destination): boolean {
    return this.#latest?.target === askedFor(destination) && this.removeContext(destination.context);
  }

  /** As `remove`, for the latest target. */
  removeContext(context: string): boolean {
    if (!this.#contexts.delete(context)) return false;
    if (this.#contexts.size === 0) this.#abandoned = true;
    return true;
  }

  /** A context has another name, since the config has changed. */
  renameContext(before: string, now: string): void {
    if (this.#contexts.delete(before)) this.#contexts.add(now);
  }

  /** Back to the state of a new object, except for the number of target sockets. */
  reset(): void {
    this.#latest = undefined;
    this.#contexts.clear();
    this.#abandoned = false;
    this.#dropped = false;
  }
}
