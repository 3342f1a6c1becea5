// The engine's iroh endpoint for the relays that are set now. An endpoint of a former setting is closed after its last connection.
import { IrohEndpoint } from '../transport/iroh/endpoint.ts';
import type { Settings } from '../config/settings/table.ts';

type Relays = Settings['iroh.relays'];

interface Bound {
  /** The setting of the relays, as JSON. */
  readonly relays: string;
  readonly endpoint: Promise<IrohEndpoint>;
}

export class Endpoints {
  readonly #relays: () => Relays;
  #current: Bound | undefined;
  /** Endpoints that are being closed, or wait for the end of their last connection. */
  readonly #former = new Set<Bound>();

  constructor(relays: () => Relays) {
    this.#relays = relays;
  }

  /** The endpoint for the relays that are set now. Rejects with the failure of its bind; the next call binds again. */
  async current(): Promise<IrohEndpoint> {
    this.follow();
    for (;;) {
      const bound = (this.#current ??= this.#bind());
      const endpoint = await bound.endpoint;
      if (this.#current === bound && endpoint.isOpen()) return endpoint;
      this.#retire(bound);
    }
  }

  /** Retires the endpoint when the setting of the relays has changed. Returns true in this case. */
  follow(): boolean {
    const bound = this.#current;
    if (bound === undefined || bound.relays === JSON.stringify(this.#relays())) return false;
    this.#retire(bound);
    return true;
  }

  /** Closes all endpoints, each in little more than `boundMs`. To be called when all connections are closed. Never rejects. */
  async close(boundMs: number): Promise<void> {
    const all = [...this.#former, ...(this.#current === undefined ? [] : [this.#current])];
    await Promise.allSettled(all.map(async ({ endpoint }) => (await endpoint).close(boundMs)));
  }

  #bind(): Bound {
    const relays = this.#relays();
    const bound = { relays: JSON.stringify(relays), endpoint: IrohEndpoint.bind({ relays }) };
    bound.endpoint.catch(() => {
      if (this.#current === bound) this.#current = undefined;
    });
    return bound;
  }

  #retire(bound: Bound): void {
    if (this.#current !== bound) return;
    this.#current = undefined;
    this.#former.add(bound);
    const forget = (): void => {
      this.#former.delete(bound);
    };
    bound.endpoint.then((endpoint) => endpoint.retire()).then(forget, forget);
  }
}
