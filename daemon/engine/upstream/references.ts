// Who uses a server: the target sockets that lead there, the contexts whose requests came by it, and the streams that are being opened.
import { askedFor, type Destination, type Route } from '../../engine-protocol/plan.ts';

/** Contexts of one server; the least recently used go first. */
const MAX_CONTEXTS = 16;

export class References {
  /** As a request or a warm-up named it last. Undefined until there was one. */
  #latest: { readonly target: string; readonly route: Route; readonly link: string | undefined } | undefined;
  /** Contexts in which the latest target led here, the least recently used first. In another context it may lead to another server. */
  readonly #contexts = new Set<string>();
  /** Number of target sockets that lead here. */
  #targetSockets = 0;
  /** Streams that are being opened. */
  #opening = 0;
  /** In no context the latest target leads here any more. The server is shown until its last connection is closed. */
  #abandoned = false;

  /** What a person calls the server; undefined when no request has come by it. */
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

  get isAbandoned(): boolean {
    return this.#abandoned;
  }

  get hasTargetSockets(): boolean {
    return this.#targetSockets > 0;
  }

  /**
   * A request, a warm-up or a spare comes by `destination`. When the server is abandoned, the request may have begun before that: only an
   * answer shows that a target leads here (`confirm`).
   */
  note(destination: Destination): void {
    const target = askedFor(destination);
    if (this.#latest?.target !== target) this.#contexts.clear();
    const { route, link, context } = destination;
    this.#latest = { target, route, link };
    this.#contexts.delete(context);
    this.#contexts.add(context);
    const [oldest] = this.#contexts;
    if (this.#contexts.size > MAX_CONTEXTS && oldest !== undefined) this.#contexts.delete(oldest);
  }

  /** As `note`, for a stream that is being opened until the returned function is called, once. */
  open(destination: Destination): () => void {
    this.note(destination);
    this.#opening += 1;
    return () => {
      this.#opening -= 1;
    };
  }

  /** A target leads here. */
  confirm(): void {
    this.#abandoned = false;
  }

  addTargetSocket(): void {
    this.#targetSockets += 1;
  }

  /** True when it was the last one. */
  removeTargetSocket(): boolean {
    this.#targetSockets = Math.max(0, this.#targetSockets - 1);
    return this.#targetSockets === 0;
  }

  /** The target no longer leads here in this context. False when it did not, or when another target was the latest. */
  remove(destination: Destination): boolean {
    return this.#latest?.target === askedFor(destination) && this.removeContext(destination.context);
  }

  removeContext(context: string): boolean {
    if (!this.#contexts.delete(context)) return false;
    if (this.#contexts.size === 0) this.#abandoned = true;
    return true;
  }

  /** The context of a target has another name, since the config has changed. */
  renameContext(before: string, now: string): void {
    if (this.#contexts.delete(before)) this.#contexts.add(now);
  }

  /** Forgets everything but the target sockets. */
  reset(): void {
    this.#latest = undefined;
    this.#contexts.clear();
    this.#abandoned = false;
  }
}
