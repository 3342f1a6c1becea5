// The part of the engine's SSH logins that one upstream uses. Upstreams with the same login share its masters.
import type { Destination, Plan, Route } from '../../engine-protocol/plan.ts';
import type { Transports } from './transports.ts';

/** The same plan for what no caller waits for: a server that a person has stopped is not started again. */
export function unattended(plan: Plan): Plan {
  const { route } = plan.destination;
  if (route.transport !== 'ssh') return plan;
  return { ...plan, destination: { ...plan.destination, route: { ...route, startsServer: false } } };
}

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
