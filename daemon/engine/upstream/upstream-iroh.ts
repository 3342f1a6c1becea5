// The iroh host of one upstream. It is made with the first use of an iroh route.
import type { Failure } from '../../base/failure.ts';
import type { Destination, IrohRoute, Route } from '../../engine-protocol/plan.ts';
import type { Handover, IrohHost } from '../../iroh/host.ts';
import type { Transports } from './transports.ts';

export interface UpstreamIrohOptions {
  readonly transports: Pick<Transports, 'irohHost'>;
  /** Asks control where the share link that led to `route` leads now. False when control cannot be asked. */
  readonly ask: (route: IrohRoute) => boolean;
  /** Called with the result of each reconnect. */
  readonly tried: (failure?: Failure) => void;
}

export class UpstreamIroh {
  readonly #options: UpstreamIrohOptions;
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

  /** A target was dropped: there is no reconnect for it any more. */
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
