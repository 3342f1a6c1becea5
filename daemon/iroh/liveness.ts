// Checks the health of warm connections. A lost peer is noticed within seconds (by QUIC alone after 30 s). After a sleep all are marked stale.
import type { WarmConnection } from './warm-connection.ts';

/** The connections of one upstream. */
interface Watched {
  readonly connections: Iterable<WarmConnection>;
  /** Called with a connection whose peer did not answer a health check. */
  markDead(warm: WarmConnection): void;
  /** Called with a connection that is lost for good. */
  lose(warm: WarmConnection, why: string): void;
}

export interface LivenessOptions {
  readonly hosts: () => Iterable<Watched>;
  /** ms without a packet after which the streams of a connection are given up. */
  readonly silenceMs: () => number;
  /** Wall clock, ms. When it has moved much more than the timer's interval, the machine has slept. */
  readonly now?: () => number;
}

/** ms between two calls of `look`. */
const LOOK_MS = 1000;
/**
 * ms without a received packet after which a connection is checked. QUIC's keep-alive is received every 5 s, so a healthy connection is not
 * checked. That matters since a gateway keeps about 100 bytes for each check until it restarts.
 */
const CHECK_MS = 5500;
/** ms by which a call of `look` must be late to count as a sleep of the machine. */
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

  /** Marks all connections as stale after a sleep. Also called before a connection is used, since the timer may not have run since the sleep. */
  noticeJump(): void {
    const now = this.#now();
    if (Math.abs(now - this.#lookedAt) > LOOK_MS + JUMP_MS) {
      for (const host of this.#options.hosts()) for (const warm of host.connections) warm.markStale();
    }
    this.#lookedAt = now;
  }

  /** Checks the connections that have received nothing for a while. */
  look(): void {
    this.noticeJump();
    for (const host of this.#options.hosts()) {
      for (const warm of host.connections) {
        if (warm.checking || warm.sinceHeardMs() < CHECK_MS) continue;
        this.#check(host, warm);
      }
    }
  }

  /** While the peer is silent under live streams, a check follows at once on the one before. */
  #check(host: Watched, warm: WarmConnection): void {
    const known = warm.silent;
    const since = performance.now();
    // Never rejects.
    void warm.healthCheck().then((alive) => {
      if (alive) return;
      if (!known) host.markDead(warm);
      const why = warm.lostBecause(this.#options.silenceMs());
      if (why !== undefined) host.lose(warm, why);
      else if (performance.now() - since > LOOK_MS / 2 && warm.connection.streams > 0 && !warm.checking)
        this.#check(host, warm);
    });
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
