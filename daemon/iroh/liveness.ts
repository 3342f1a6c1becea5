// Checks the health of warm connections. A lost peer is noticed within seconds (by QUIC alone after 30 s).
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
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
}

/** ms between two calls of `look`. */
const LOOK_MS = 2000;
/**
 * ms without a received packet after which a connection is checked. QUIC's keep-alive is received every 5 s, so a healthy connection is not
 * checked. That matters since a gateway keeps about 100 bytes for each check until it restarts.
 */
const CHECK_MS = 5500;
/** ms of a check after which another one may follow at once. */
const LEAST_MS = 500;

export class Liveness {
  readonly #options: LivenessOptions;
  readonly #stopLooking: () => void;
  /** Looks in between, while a connection with live streams is nearly due for a check. */
  #soon: NodeJS.Timeout | undefined;

  constructor(options: LivenessOptions) {
    this.#options = options;
    this.#stopLooking = SYSTEM_CLOCK.every(LOOK_MS, () => {
      this.look();
    });
  }

  /** Checks the connections that have received nothing for a while, or have a stream that waits for an answer. */
  look(): void {
    for (const host of this.#options.hosts()) {
      for (const warm of host.connections) {
        if (warm.checking) continue;
        const left = warm.connection.takeOverdue() ? 0 : CHECK_MS - warm.sinceHeardMs();
        if (left <= 0) this.#check(host, warm);
        else if (left < LOOK_MS && warm.connection.streams > 0) this.#lookIn(left);
      }
    }
  }

  close(): void {
    this.#stopLooking();
    clearTimeout(this.#soon);
  }

  #lookIn(ms: number): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.look();
    }, ms).unref();
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
      else if (performance.now() - since > LEAST_MS && warm.connection.streams > 0 && !warm.checking)
        this.#check(host, warm);
    });
  }
}
