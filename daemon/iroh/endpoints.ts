// The engine's iroh endpoint for the relays that are set now. A former endpoint is closed after its last connection.
import { settledWithin } from '../base/async/deadline.ts';
import { Failure } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import type { Settings } from '../config/settings/table.ts';
import type { IrohRoute } from '../engine-protocol/plan.ts';
import type { Dialling } from '../transport/dialling.ts';
import { IrohEndpoint, type IrohConnection } from '../transport/iroh/endpoint.ts';

type Relays = Settings['iroh.relays'];

interface Bound {
  /** The setting of the relays, as JSON. */
  readonly relays: string;
  readonly endpoint: Promise<IrohEndpoint>;
  /** performance.now() when it was bound, or when another one was last tried beside it. */
  triedAt: number;
}

export interface EndpointsOptions {
  /** Replaces `LIMITS.irohTrialMs` in tests. */
  readonly trialMs?: number;
  /** Replaces REST_MS in tests. */
  readonly restMs?: number;
}

/** ms between two endpoints that are tried beside the present one: most hosts that do not answer are away. */
const REST_MS = 30_000;

export class Endpoints {
  readonly #relays: () => Relays;
  readonly #trialMs: number;
  readonly #restMs: number;
  #current: Bound | undefined;
  /** Endpoints that are tried, are being closed, or wait for the end of their last connection. */
  readonly #others = new Set<Bound>();

  constructor(relays: () => Relays, options: EndpointsOptions = {}) {
    this.#relays = relays;
    this.#trialMs = options.trialMs ?? LIMITS.irohTrialMs;
    this.#restMs = options.restMs ?? REST_MS;
  }

  /** The endpoint for the relays that are set now. Rejects with the failure of its bind; the next call binds again. */
  async current(): Promise<IrohEndpoint> {
    return (await this.#usable()).endpoint;
  }

  /**
   * Dials as `IrohEndpoint.connect` does. An endpoint may have died without a word. So a dial without an answer is also made on a new endpoint, which
   * takes the place of the present one when the host answers there.
   */
  async connect(route: IrohRoute, label: string, wait: Dialling): Promise<IrohConnection> {
    const { bound, endpoint } = await this.#usable();
    wait.signal.throwIfAborted();
    const decided = new AbortController();
    const signal = AbortSignal.any([wait.signal, decided.signal]);
    const dial = (one: IrohEndpoint): Promise<IrohConnection> =>
      one.connect(route, label, { deadline: wait.deadline, signal });
    const first = dial(endpoint);
    const both = [first, this.#besides(bound, first, dial, signal)];
    try {
      const connection = await Promise.any(both).catch(() => first);
      const closeOther = async (other: IrohConnection): Promise<void> => {
        if (other !== connection) await other.close();
      };
      for (const one of both) one.then(closeOther).catch(ignore);
      return connection;
    } finally {
      decided.abort();
    }
  }

  /** Retires the endpoint when the setting of the relays has changed. Returns true in this case. */
  follow(): boolean {
    const bound = this.#current;
    if (bound === undefined || bound.relays === JSON.stringify(this.#relays())) return false;
    this.renew();
    return true;
  }

  /** The next dial is made on a new endpoint. The connections of the present one go on. */
  renew(): void {
    const bound = this.#current;
    this.#current = undefined;
    if (bound !== undefined) this.#retire(bound);
  }

  /** Closes all endpoints, each in little more than `boundMs`. To be called when all connections are closed. Never rejects. */
  async close(boundMs: number): Promise<void> {
    const all = [...this.#others, ...(this.#current === undefined ? [] : [this.#current])];
    await Promise.allSettled(all.map(async ({ endpoint }) => (await endpoint).close(boundMs)));
  }

  async #usable(): Promise<{ readonly bound: Bound; readonly endpoint: IrohEndpoint }> {
    this.follow();
    for (;;) {
      const bound = (this.#current ??= this.#bind());
      const endpoint = await bound.endpoint;
      if (this.#current === bound && endpoint.isOpen()) return { bound, endpoint };
      if (this.#current === bound) this.renew();
    }
  }

  /** The same dial on another endpoint, when `first` has failed or takes long; otherwise the outcome of `first`. */
  async #besides(
    bound: Bound,
    first: Promise<IrohConnection>,
    dial: (endpoint: IrohEndpoint) => Promise<IrohConnection>,
    signal: AbortSignal,
  ): Promise<IrohConnection> {
    if ((await settledWithin(first, this.#trialMs)) && (await hasAnswered(first))) return first;
    if (signal.aborted) return first;
    if (this.#current !== bound) return dial((await this.#usable()).endpoint);
    const now = performance.now();
    if (now - bound.triedAt < this.#restMs) return first;
    bound.triedAt = now;
    return this.#try(bound, dial);
  }

  async #try(
    bound: Bound,
    dial: (endpoint: IrohEndpoint) => Promise<IrohConnection>,
  ): Promise<IrohConnection> {
    const tried = this.#bind();
    this.#others.add(tried);
    try {
      const connection = await dial(await tried.endpoint);
      if (this.#current === bound) {
        this.renew();
        this.#others.delete(tried);
        this.#current = tried;
      }
      return connection;
    } finally {
      if (this.#current !== tried) this.#retire(tried);
    }
  }

  #bind(): Bound {
    const relays = this.#relays();
    const endpoint = IrohEndpoint.bind({ relays });
    const bound = { relays: JSON.stringify(relays), endpoint, triedAt: performance.now() };
    endpoint.catch(() => {
      if (this.#current === bound) this.#current = undefined;
    });
    return bound;
  }

  #retire(bound: Bound): void {
    this.#others.add(bound);
    const forget = (): void => {
      this.#others.delete(bound);
    };
    bound.endpoint.then((endpoint) => endpoint.retire()).then(forget, forget);
  }
}

/** False when the host was not reached; another endpoint might reach it then. */
function hasAnswered(dial: Promise<unknown>): Promise<boolean> {
  return dial.then(
    () => true,
    (error: unknown) => !(error instanceof Failure && error.code === 'iroh_unreachable'),
  );
}

function ignore(): void {
  // The dial that was not used may fail in any way.
}
