// Makes targets warm before anybody asks, as control says: a stream is opened and ended, so that the next one finds everything ready.
import { endGracefully } from '../../transport/end.ts';
import { asFailure } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { askedFor, type Plan } from '../../engine-protocol/plan.ts';
import { openByDetection, type OpenDeps } from './open.ts';

export class WarmUps {
  readonly #deps: OpenDeps;
  /** Under way, by address. */
  readonly #under = new Map<string, AbortController>();

  constructor(deps: OpenDeps) {
    this.#deps = deps;
  }

  /** Told again and again: what is warm, or has been reached and looks after its spares, is left alone. */
  start(plan: Plan): void {
    const { upstreams, spares, transports, log } = this.#deps;
    const address = plan.destination.address;
    spares.review(plan);
    if (upstreams.isWell(plan) || this.#under.get(address)?.signal.aborted === false) return;
    const left = new AbortController();
    this.#under.set(address, left);
    const over = openByDetection(plan, this.#deps, left.signal)
      .then(
        ({ stream, candidate }) => {
          if (!left.signal.aborted) upstreams.succeeded(plan, candidate);
          transports.end(endGracefully(stream, LIMITS.endMs));
        },
        (error: unknown) => {
          if (left.signal.aborted) return;
          const failure = asFailure(error);
          upstreams.failed(plan, failure.data);
          log.info({ target: askedFor(plan.destination), code: failure.code }, 'could not be warmed');
        },
      )
      .finally(() => {
        if (this.#under.get(address) === left) this.#under.delete(address);
      });
    // Whoever leaves waits for it.
    transports.end(over);
  }

  /** No target leads there any more: how it would end says nothing about any. */
  left(address: string): void {
    this.#under.get(address)?.abort();
  }

  /** The engine leaves: those under way are given up, and what they hold is ended. */
  close(): void {
    for (const left of this.#under.values()) left.abort();
  }
}
