// How long a client tries again while processes of the daemon are replaced, and waits for one that starts.
import { monotonicMs } from '../daemon/base/async/monotonic.ts';
import { LIMITS } from '../daemon/base/limits.ts';
import { isAwaited, isYoung } from '../daemon/api/instance-file.ts';

/**
 * How long a client tries again. Each reason has a time of its own, from its first occurrence on: a daemon that was away for long may still take
 * its time to start.
 */
export class Patience {
  readonly #first = new Map<string, number>();

  /** Whether the time for the reason `why` is over at `at`, ms. */
  isOver(why: string, patienceMs: number, at: number): boolean {
    const first = this.#first.get(why) ?? at;
    this.#first.set(why, first);
    return at - first > patienceMs;
  }
}

/** How long one request waits for a daemon that starts. */
export class StartWait {
  readonly #socket: string;
  readonly #askedAt = monotonicMs();
  /** One that did not run yet when it was asked is waited for to the end, however old it is then. */
  #wasAwaited = false;

  /** `socket`: the control socket. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** ms since the request began. */
  get waitedMs(): number {
    return monotonicMs() - this.#askedAt;
  }

  /** ms that are left of `LIMITS.startMs`. */
  get leftMs(): number {
    return Math.max(0, LIMITS.startMs - this.waitedMs);
  }

  /** Whether the daemon does not run yet or has just been started, and `LIMITS.startMs` are not over. */
  goesOn(): boolean {
    this.#wasAwaited ||= isAwaited(this.#socket);
    return this.leftMs > 0 && (this.#wasAwaited || isYoung(this.#socket));
  }
}
