// Refuses a request whose target is full before control makes its plan: a flood of them would keep control and engine from other requests.
import type { Failure } from '../../base/failure.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import type { AcceptedClient } from './client.ts';

/** ms for which a request of the same content is believed to lead to the same server. Then the config may have changed. */
const BELIEVED_MS = 250;
/** Most contents that are remembered. */
const MAX_REMEMBERED = 64;

interface Refused {
  readonly untilMs: number;
  readonly address: string;
  readonly failure: Failure;
}

export interface FullTargetsOptions {
  /** Whether no further request may wait for the server at `address`. */
  isFull(address: string): boolean;
  /** Default: performance.now(). */
  now?(): number;
}

export class FullTargets {
  readonly #options: FullTargetsOptions;
  /** By the content of the request. */
  readonly #refused = new LruMap<string, Refused>(MAX_REMEMBERED);

  constructor(options: FullTargetsOptions) {
    this.#options = options;
  }

  /** `client`, whose refusal is remembered when it says that the server of its plan has no room. */
  noting<Client extends Pick<AcceptedClient, 'refused'>>(
    content: string,
    { destination }: Pick<Plan, 'destination'>,
    client: Client,
  ): Client {
    const { address } = destination;
    return {
      ...client,
      refused: (failure) => {
        if (failure.code === 'target_busy')
          this.#refused.set(content, { untilMs: this.#now() + BELIEVED_MS, address, failure });
        client.refused(failure);
      },
    };
  }

  /** Why a request of this content is refused without a plan; undefined when it needs one. */
  refusal(content: string): Failure | undefined {
    const refused = this.#refused.get(content);
    if (refused === undefined) return undefined;
    if (this.#now() < refused.untilMs && this.#options.isFull(refused.address)) return refused.failure;
    this.#refused.delete(content);
    return undefined;
  }

  #now(): number {
    return this.#options.now?.() ?? performance.now();
  }
}
