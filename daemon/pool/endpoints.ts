// The engine's iroh endpoint: one for the relays that are set now; those of former settings live as long as their connections may.
import { IrohEndpoint } from '../transport/iroh.ts';
import { asFailure } from '../wire/fail.ts';
import type { Settings } from '../wire/settings.ts';

type Relays = Settings['iroh.relays'];

export class Endpoints {
  readonly #relays: () => Relays;
  #current: { readonly relays: string; readonly bound: Promise<IrohEndpoint> } | undefined;
  readonly #former = new Set<Promise<IrohEndpoint>>();

  constructor(relays: () => Relays) {
    this.#relays = relays;
  }

  /** The endpoint for the relays that are set now. Rejects with the failure of its bind; the next call binds anew. */
  async current(): Promise<IrohEndpoint> {
    const relays = JSON.stringify(this.#relays());
    const known = this.#current;
    if (known?.relays === relays) {
      const endpoint = await known.bound.catch((error: unknown) => {
        throw asFailure(error);
      });
      if (endpoint.isOpen()) return endpoint;
    }
    if (this.#current === known) {
      if (known !== undefined) this.#former.add(known.bound);
      const bound = IrohEndpoint.bind({ relays: this.#relays() });
      this.#current = { relays, bound };
      bound.catch(() => {
        if (this.#current?.bound === bound) this.#current = undefined;
      });
    }
    return this.#current === undefined ? this.current() : this.#current.bound;
  }

  /** After their connections are closed. Never rejects. */
  async close(): Promise<void> {
    const bound = [...this.#former, ...(this.#current === undefined ? [] : [this.#current.bound])];
    await Promise.allSettled(bound.map(async (endpoint) => (await endpoint).close()));
  }
}
