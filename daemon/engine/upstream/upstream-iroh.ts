// The iroh connections of one upstream, which has none when its routes are local or TLS.
import type { Failure } from '../../base/failure.ts';
import type { Destination, IrohRoute, Route } from '../../engine-protocol/plan.ts';
import type { Handover, IrohHost } from '../../iroh/host.ts';
import type { Transports } from './transports.ts';

export interface UpstreamIrohOptions {
  readonly transports: Pick<Transports, 'irohHost'>;
  /** Asks control where the share link that led to `route` leads now; false when nobody can tell. */
  readonly ask: (route: IrohRoute) => boolean;
  /** Called with the result of each reconnect. */
  readonly tried: (failure?: Failure) => void;
}

export class UpstreamIroh {
  readonly #options: UpstreamIrohOptions;
  /** Made with the first use of an iroh route. */
  #host: IrohHost | undefined;
  #retired = false;

  constructor(options: UpstreamIrohOptions) {
    this.#options = options;
  }

  get host(): IrohHost {
    if (this.#host !== undefined) return this.#host;
    const { transports, ask, tried } = this.#options;
    const host = transports.irohHost({ ask, tried });
    if (this.#retired) host.retireForGood();
    this.#host = host;
    return host;
  }

  /** See `IrohHost.inUse`. */
  get inUse(): boolean {
    return this.#host?.inUse === true;
  }

  isWarm(route: Route): boolean {
    return route.transport === 'iroh' && this.#host?.connections.isWarm(route) === true;
  }

  isDialling(route: Route): boolean {
    return route.transport === 'iroh' && this.#host?.isDialling(route) === true;
  }

  warmSinceMs(route: Route): number | undefined {
    return route.transport === 'iroh' ? this.#host?.connections.warmSinceMs(route) : undefined;
  }

  roundTripMs(route: Route): number | undefined {
    return route.transport === 'iroh' ? this.#host?.connections.roundTripMs(route) : undefined;
  }

  /** See `IrohHost.unrefer`. */
  unrefer(destination: Destination, now: Destination | undefined): Handover | undefined {
    const { route } = destination;
    return route.transport === 'iroh' ? this.host.unrefer(route, destination, now?.route) : undefined;
  }

  /** See `IrohHost.refer`. */
  refer(destination: Destination, from: Handover | undefined): void {
    const { route } = destination;
    if (from !== undefined && route.transport === 'iroh') this.host.refer(route, destination, from);
  }

  /** Retires the connections of a target that was dropped. */
  drop({ route }: Destination): void {
    if (route.transport === 'iroh') this.host.drop(route);
  }

  /** No connection is made again for this target: it was dropped. */
  forget(destination: Destination): void {
    this.#host?.forget(destination);
  }

  retire(): void {
    this.#retired = true;
    this.#host?.retireForGood();
  }

  async close(): Promise<void> {
    await this.#host?.close();
  }
}
