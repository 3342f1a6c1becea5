// Keeps an eye on warm connections: a lost path is noticed within seconds (the binding alone takes 30), and after a sleep nothing is believed unasked.
import type { WarmConnection } from './warm-connection.ts';

export interface LivenessOptions {
  readonly connections: () => Iterable<WarmConnection>;
  /** It gave no sign of life in time. */
  readonly onDead: (warm: WarmConnection) => void;
  /** Wall clock, ms; a jump of it against the timer means that the machine slept. */
  readonly now?: () => number;
}

/** ms between two looks. */
const LOOK_MS = 1000;
/**
 * ms after its last sign of life that a connection is asked for another. QUIC's own keep-alive gives one every 5 s: a healthy connection is never
 * asked, since a gateway keeps what it is asked with (some 100 bytes each) until it restarts.
 */
const ASK_MS = 5500;
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

  /** Also called before a hand-out: the timer may not have run since the machine woke up. */
  noticeJump(): void {
    const now = this.#now();
    if (Math.abs(now - this.#lookedAt) > LOOK_MS + JUMP_MS) {
      for (const warm of this.#options.connections()) warm.markStale();
    }
    this.#lookedAt = now;
  }

  look(): void {
    this.noticeJump();
    for (const warm of this.#options.connections()) {
      if (warm.checking || warm.sinceHeardMs() < ASK_MS) continue;
      const known = warm.silent;
      // Never rejects.
      void warm.healthCheck().then((alive) => {
        if (!alive && !known) this.#options.onDead(warm);
      });
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
