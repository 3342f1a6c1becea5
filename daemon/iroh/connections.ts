// The iroh connections that one upstream keeps: which of them a caller may use, and when they are closed.
import type { Dialling } from '../transport/dialling.ts';
import { fail } from '../errors/fail.ts';
import type { IrohRoute } from '../engine-protocol/plan.ts';
import type { Agents } from './agents.ts';
import { agentsOf, connectionKey } from './dialler.ts';
import type { WarmConnection } from './warm-connection.ts';

/** The connections of all routes to one host. Routes differ in relay and direct address. */
export class Connections implements Iterable<WarmConnection> {
  readonly #warm = new Set<WarmConnection>();
  readonly #agents: Pick<Agents, 'vouching'>;

  constructor(agents: Pick<Agents, 'vouching'>) {
    this.#agents = agents;
  }

  [Symbol.iterator](): Iterator<WarmConnection> {
    return this.#warm.values();
  }

  get size(): number {
    return this.#warm.size;
  }

  add(warm: WarmConnection): void {
    this.#warm.add(warm);
  }

  has(warm: WarmConnection): boolean {
    return this.#warm.has(warm);
  }

  /** Removes a connection that is closed already; false when it was not here. */
  delete(warm: WarmConnection): boolean {
    return this.#warm.delete(warm);
  }

  /** The connections for `route` that are up, the oldest first. */
  usable(route: IrohRoute): WarmConnection[] {
    const key = connectionKey(route);
    return [...this.#warm].filter((warm) => warm.key === key && warm.usable);
  }

  /** True when a connection for `route` is up, with whichever SSH key it was authenticated. */
  isWarm(route: IrohRoute): boolean {
    return this.usable(route).length > 0;
  }

  /** When the oldest connection for `route` that is up was made, ms since the epoch. */
  warmSinceMs(route: IrohRoute): number | undefined {
    const made = this.usable(route).map((warm) => warm.madeAtMs);
    return made.length === 0 ? undefined : Math.min(...made);
  }

  /** The round trip for `route`, ms, as the binding measures it. */
  roundTripMs(route: IrohRoute): number | undefined {
    return this.usable(route)[0]?.connection.rttMs();
  }

  /**
   * A connection for `route` with room for one more stream. One that an SSH key has authenticated is found only when the caller's own agent
   * vouches for that key (docs/decisions/iroh-connections.md). Rejects with ssh_auth_timeout when the agent takes all of the caller's time.
   */
  async find(
    route: IrohRoute,
    wait: Dialling & { readonly label: string },
  ): Promise<WarmConnection | undefined> {
    const candidates = (): WarmConnection[] => this.usable(route).filter((warm) => warm.connection.hasRoom());
    if (!route.sshAuth) return candidates().find((warm) => warm.fingerprint === undefined);
    if (candidates().length === 0 || route.agentSocket === undefined) return undefined;
    const agent = await this.#agents.vouching(agentsOf(route), wait);
    if (agent === undefined && wait.deadline.remaining() <= 0)
      throw fail('ssh_auth_timeout', { label: wait.label });
    const listed = agent?.fingerprints ?? [];
    // The connections are looked up again, since they may have changed while the agent was asked.
    return candidates().find((warm) => warm.fingerprint !== undefined && listed.includes(warm.fingerprint));
  }

  /** Takes a connection out of use. Closing it would end its streams, so it is closed after the last of them. */
  retire(warm: WarmConnection): void {
    warm.retire();
    if (warm.connection.isAlive() && warm.connection.streams > 0) return;
    this.#warm.delete(warm);
    warm.connection.close().catch(ignore);
  }

  /** Retires the connections of a route (default: of all routes). */
  retireAll(key?: string): void {
    for (const warm of this.#warm) if (key === undefined || warm.key === key) this.retire(warm);
  }

  /** Closes a connection whose peer does not answer, without waiting for the peer. One with streams stays, and is not usable while it is silent. */
  closeDead(warm: WarmConnection): void {
    if (warm.connection.streams > 0) return;
    this.#warm.delete(warm);
    warm.retire();
    warm.connection.close(0).catch(ignore);
  }

  /**
   * Closes connections without streams that were retired or have been unused for longer than `keptMs`, and removes those that are lost.
   * `keptMs`: for the key of a connection, the time in ms that it is kept without use.
   */
  reap(keptMs: (key: string) => number): void {
    const now = performance.now();
    for (const warm of this.#warm) {
      const old = now - warm.usedAt > keptMs(warm.key);
      const idle = warm.connection.streams === 0 && (!warm.usable || old);
      if (idle || !warm.connection.isAlive()) this.retire(warm);
    }
  }

  /** Closes all connections, also those with streams. Never rejects. */
  async close(boundMs: number): Promise<void> {
    await Promise.allSettled([...this.#warm].map((warm) => warm.connection.close(boundMs)));
    this.#warm.clear();
  }
}

function ignore(): void {
  // A connection that is being closed may fail in any way.
}
