// The part of the engine's SSH logins that one upstream uses. Upstreams with the same login share its masters.
import type { Destination, Route } from '../../engine-protocol/plan.ts';
import type { Transports } from './transports.ts';

export class UpstreamSsh {
  readonly #ssh: Transports['ssh'];

  constructor(transports: Pick<Transports, 'ssh'>) {
    this.#ssh = transports.ssh;
  }

  isWarm(route: Route): boolean {
    return route.transport === 'ssh' && this.#ssh.isWarm(route);
  }

  /** Since when there is a connection, ms since 1970. */
  warmSinceMs(route: Route): number | undefined {
    return route.transport === 'ssh' ? this.#ssh.warmSinceMs(route) : undefined;
  }

  /** The connections of a target that was dropped get no more streams. */
  drop({ route }: Destination): void {
    if (route.transport === 'ssh') this.#ssh.drop(route);
  }
}
