// What a request waits for until its stream is open: the step, since when, and the interim answers that tell its client.
import type { Wait, Waiting, WaitStep } from '../../api/answers.ts';
import type { Clock } from '../../base/async/clock.ts';
import { LIMITS } from '../../base/limits.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { askedFor, type Destination } from '../../engine-protocol/plan.ts';

export interface RequestWaitOptions {
  readonly clock: Clock;
  /** Tells the client: first after `LIMITS.waitToldMs`, then at each further step. Missing when the client takes no such news. */
  readonly tell?: ((waiting: Waiting) => void) | undefined;
}

export class RequestWait {
  /** performance.now() when the request was accepted. */
  readonly acceptedAt = performance.now();
  readonly #options: RequestWaitOptions;
  #step: WaitStep = 'planning';
  #sinceMs: number;
  #destination: Destination | undefined;
  #isTold = false;
  readonly #cancel: (() => void) | undefined;

  constructor(options: RequestWaitOptions) {
    this.#options = options;
    const { clock, tell } = options;
    this.#sinceMs = clock.now();
    if (tell === undefined) return;
    this.#cancel = clock.after(LIMITS.waitToldMs, () => {
      this.#isTold = true;
      tell(this.#waiting());
    });
  }

  get current(): Wait {
    return { step: this.#step, sinceMs: this.#sinceMs };
  }

  /** The request is at this step now. A step that it is at already does not begin again. */
  enter(step: WaitStep, destination?: Destination): void {
    if (step === this.#step) return;
    const { clock, tell } = this.#options;
    this.#step = step;
    this.#sinceMs = clock.now();
    this.#destination = destination;
    if (this.#isTold) tell?.(this.#waiting());
  }

  #waiting(): Waiting {
    const destination = this.#destination;
    if (destination === undefined) return this.current;
    return {
      ...this.current,
      target: withoutCredentials(askedFor(destination)),
      transport: destination.route.transport,
    };
  }

  /** The answer follows, or the client is gone. Nothing is told from now on. */
  end(): void {
    this.#cancel?.();
    this.#isTold = false;
  }
}
