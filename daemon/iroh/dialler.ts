// Makes authenticated iroh connections, and remembers which SSH agents sign without asking a person.
import { Agents } from './agents.ts';
import { Endpoints } from './endpoints.ts';
import { Deadline } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { LruMap } from '../base/lru-map.ts';
import type { Dialling } from '../transport/dialling.ts';
import type { IrohConnection } from '../transport/iroh/endpoint.ts';
import { authenticate } from '../transport/ssh-auth/authenticate.ts';
import type { IrohRoute } from '../engine-protocol/plan.ts';
import type { Settings } from '../config/settings/table.ts';

export interface Dialled {
  readonly connection: IrohConnection;
  /** Fingerprint of the SSH key that authenticated the connection; undefined without SSH auth. */
  readonly fingerprint: string | undefined;
}

type LabelledDialling = Dialling & { readonly label: string };

/** Agents that are remembered at most; the least recently used are removed first. */
const MAX_REMEMBERED = 64;

export class IrohDialler {
  /** What the SSH agents of callers say of their keys. */
  readonly agents = new Agents();
  readonly #endpoints: Endpoints;
  /** By `connectionKey`: the path of the agent that signed the last time, when it did so without asking a person. */
  readonly #unattended = new LruMap<string, string>(MAX_REMEMBERED);

  constructor(relays: () => Settings['iroh.relays']) {
    this.#endpoints = new Endpoints(relays);
  }

  /** True when the setting of the relays has changed. */
  follow(): boolean {
    return this.#endpoints.follow();
  }

  /** The next dial is made on a new endpoint. */
  renew(): void {
    this.#endpoints.renew();
  }

  /**
   * The route with the one agent that signs without asking a person; undefined when no such agent is known. A person may have to confirm each
   * use of a key (`ssh-add -c`). An agent is expected to sign in the same way as the last time.
   */
  unattended(route: IrohRoute): IrohRoute | undefined {
    if (!route.sshAuth) return route;
    const agentSocket = this.#unattended.peek(connectionKey(route));
    if (agentSocket === undefined || !agentsOf(route).includes(agentSocket)) return undefined;
    const { earlierAgents: _, ...rest } = route;
    return { ...rest, agentSocket };
  }

  /** The host of `from` is at `to` now. It allows the same keys, so the remembered agent is used there as well. */
  moved(from: IrohRoute, to: IrohRoute): void {
    const agentSocket = this.#unattended.peek(connectionKey(from));
    if (agentSocket !== undefined) this.#remember(to, agentSocket, true);
  }

  /** `through` is called asynchronously when the host has answered, before authentication. */
  async connect(route: IrohRoute, wait: LabelledDialling, through: () => void): Promise<Dialled> {
    wait.signal.throwIfAborted();
    const connection = await this.#endpoints.connect(route, wait.label, wait);
    through();
    if (!route.sshAuth) return { connection, fingerprint: undefined };
    let agentSocket: string | undefined;
    let signs = false;
    const onSign = (): void => {
      signs = true;
    };
    try {
      // The first stream of a connection is the auth stream (docs/bmux-protocol.md).
      const stream = await connection.openStream(wait);
      agentSocket = await this.#agentFor(route, wait);
      const identity = await authenticate(stream, { agentSocket, onSign, ...wait });
      this.#remember(route, agentSocket, identity.unattended);
      if (agentSocket !== undefined) this.agents.signed(agentSocket, identity.fingerprint);
      return { connection, fingerprint: identity.fingerprint };
    } catch (error) {
      if (signs && !wait.signal.aborted) this.#remember(route, agentSocket, false);
      connection.close().catch(ignore);
      throw error;
    }
  }

  /** Closes the endpoints. To be called when all connections are closed. */
  close(boundMs: number): Promise<void> {
    this.agents.close();
    return this.#endpoints.close(boundMs);
  }

  /** The first agent that answers. When only one may be used, or none answers, it is the caller's own, whose failure is reported then. */
  async #agentFor(route: IrohRoute, { deadline, signal }: LabelledDialling): Promise<string | undefined> {
    const agents = agentsOf(route);
    if (agents.length < 2) return route.agentSocket;
    const limits = { deadline: new Deadline(deadline.within(LIMITS.agentChoiceMs)), signal };
    return (await this.agents.answering(agents, limits))?.agentSocket ?? route.agentSocket;
  }

  #remember(route: IrohRoute, agentSocket: string | undefined, unattended: boolean): void {
    const key = connectionKey(route);
    if (unattended && agentSocket !== undefined) this.#unattended.set(key, agentSocket);
    else this.#unattended.delete(key);
  }
}

/** Endpoint id, relay and address of a route. Routes with the same key can use the same connections. */
export function connectionKey(route: IrohRoute): string {
  return `${route.endpointId}|${route.relayUrl ?? ''}|${route.ipAddr ?? ''}`;
}

/** Two callers share a dial only when they would authenticate with the same agent. */
export function dialKey(route: IrohRoute): string {
  return `${connectionKey(route)}|${route.sshAuth ? agentsOf(route).join(':') : '-'}`;
}

/** The agents whose keys may be used, the caller's own agent first. */
export function agentsOf({ agentSocket, earlierAgents = [] }: IrohRoute): string[] {
  return agentSocket === undefined ? [] : [agentSocket, ...earlierAgents];
}

function ignore(): void {
  // A connection that is being closed may fail in any way.
}
