// Checks warm connections: a lost path is noticed within seconds, where the binding alone takes 30 s, and after a sleep all are stale.
import type { WarmConnection } from './warm-connection.ts';

/** The connections of one upstream. */
interface Watched {
  readonly connections: Iterable<WarmConnection>;
  /** Called with a connection whose peer did not answer a health check. */
  markDead(warm: WarmConnection): void;
}

export interface LivenessOptions {
  readonly hosts: () => Iterable<Watched>;
  /** Wall clock, ms. When it jumps against the timer, the machine has slept. */
  readonly now?: () => number;
}

/** ms between two looks. */
const LOOK_MS = 1000;
/**
 * ms since a connection was last heard of, after which its health is checked. QUIC's own keep-alive is heard every 5 s: a healthy connection is
 * never checked. A gateway keeps some 100 bytes for each check until it restarts.
 */
const CHECK_MS = 5500;
/** A look that comes this much later than it should (ms): the machine slept, or was too busy to know. */
const JUMP_MS = 5000;

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  #lookedAt: number;

  constructor(options: LivenessOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#lookedAt = this.#now();
    this.#timer = setInterval(() => {
      this.look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** Also called before a connection is used: the timer may not have run since the machine woke up. */
  noticeJump(): void {
    const now = this.#now();
    if (Math.abs(now - this.#lookedAt) > LOOK_MS + JUMP_MS) {
      for (const host of this.#options.hosts()) for (const warm of host.connections) warm.markStale();
    }
    this.#lookedAt = now;
  }

  look(): void {
    this.noticeJump();
    for (const host of this.#options.hosts()) {
      for (const warm of host.connections) {
        if (warm.checking || warm.sinceHeardMs() < CHECK_MS) continue;
        const known = warm.silent;
        // Never rejects.
        void warm.healthCheck().then((alive) => {
          if (!alive && !known) host.markDead(warm);
        });
      }
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
