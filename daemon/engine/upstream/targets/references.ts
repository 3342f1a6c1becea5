// The references to one server: target sockets that lead to it, and the targets that were asked for.
import type { Clock } from '../../../base/async/clock.ts';
import { LruMap } from '../../../base/lru-map.ts';
import { askedFor, type Destination } from '../../../engine-protocol/plan.ts';
import { TargetUse } from './target-use.ts';

/** Targets of one server that are remembered; the least recently used are forgotten first. */
const MAX_TARGETS = 16;

export class References {
  /** The targets of requests, warm-ups and spares, by name. */
  readonly #uses = new LruMap<string, TargetUse>(MAX_TARGETS);
  #latest: TargetUse | undefined;
  /** Number of target sockets that lead here. */
  #targetSockets = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The target of the last request, warm-up or spare. Undefined until there was one. */
  get latest(): TargetUse | undefined {
    return this.#latest;
  }

  /** All targets, in the order of their names. */
  get uses(): readonly TargetUse[] {
    return [...this.#uses.values()].sort((left, right) => (left.target < right.target ? -1 : 1));
  }

  get isOpening(): boolean {
    return this.uses.some(({ isOpening }) => isOpening);
  }

  get hasTargetSockets(): boolean {
    return this.#targetSockets > 0;
  }

  /** Undefined when the target was not asked for yet. */
  of(destination: Destination): TargetUse | undefined {
    return this.#uses.peek(askedFor(destination));
  }

  /**
   * Records `destination` as the latest target. An abandoned target stays abandoned, since the request may have begun before the target moved:
   * only a stream that was opened shows that the target leads here (`TargetUse.confirm`).
   */
  note(destination: Destination): TargetUse {
    const target = askedFor(destination);
    const use = this.#uses.get(target) ?? new TargetUse(target, destination, this.#clock);
    this.#uses.set(target, use);
    use.note(destination);
    this.#latest = use;
    return use;
  }

  /** As `note`, for a stream that is being opened. The returned function must be called once, when that is over. */
  open(destination: Destination): () => void {
    return this.note(destination).open();
  }

  addTargetSocket(): void {
    this.#targetSockets += 1;
  }

  /** Returns true when it was the last one. */
  removeTargetSocket(): boolean {
    this.#targetSockets = Math.max(0, this.#targetSockets - 1);
    return this.#targetSockets === 0;
  }

  /** The target no longer leads here in this context. Returns false when it did not. */
  remove(destination: Destination): boolean {
    return this.of(destination)?.removeContext(destination.context) === true;
  }

  /** As `remove`, for a share link. */
  removeLink(link: string, context: string): void {
    for (const use of this.#uses.values()) if (use.link === link) use.removeContext(context);
  }

  /** A context has another name, since the config has changed. */
  renameContext(before: string, now: string): void {
    for (const use of this.#uses.values()) use.renameContext(before, now);
  }

  forget(use: TargetUse): void {
    this.#uses.delete(use.target);
    if (this.#latest === use) this.#latest = this.uses[0];
  }
}
