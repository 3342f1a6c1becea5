// Makes authenticated iroh connections, and knows which of them can be made without asking a person.
import { Endpoints } from './endpoints.ts';
import { LruMap } from '../base/lru-map.ts';
import type { Dialling } from '../transport/dialling.ts';
import type { IrohConnection } from '../transport/iroh/endpoint.ts';
import { answeringAgent, authenticate } from '../transport/ssh-auth/authenticate.ts';
import type { IrohRoute } from '../engine-protocol/plan.ts';
import type { Settings } from '../config/settings/table.ts';

export interface Dialled {
  readonly connection: IrohConnection;
  /** Of the SSH key that authenticated it. */
  readonly fingerprint: string | undefined;
}

type Wait = Dialling & { readonly label: string };

/** Agents remembered at once; the least recently used go first. */
const MAX_REMEMBERED = 64;

export class IrohDialler {
  readonly #endpoints: Endpoints;
  /** The agent that signed the last time without asking a person, by `connectionKey`. */
  readonly #unattended = new LruMap<string, string>(MAX_REMEMBERED);

  constructor(relays: () => Settings['iroh.relays']) {
    this.#endpoints = new Endpoints(relays);
  }

  /** True when other relays are set than before. */
  follow(): boolean {
    return this.#endpoints.follow();
  }

  /**
   * The route with the one agent that signs without asking a person; undefined where there is none. A key may want its use confirmed
   * (`ssh-add -c`). An agent is expected to do what it did the last time.
   */
  unattended(route: IrohRoute): IrohRoute | undefined {
    if (!route.sshAuth) return route;
    const agentSocket = this.#unattended.peek(connectionKey(route));
    if (agentSocket === undefined || !agentsOf(route).includes(agentSocket)) return undefined;
    const { earlierAgents: _, ...rest } = route;
    return { ...rest, agentSocket };
  }

  /** A host is at another route now: it knows the same keys. */
  moved(from: IrohRoute, to: IrohRoute): void {
    const agentSocket = this.#unattended.peek(connectionKey(from));
    if (agentSocket !== undefined) this.#remember(to, agentSocket, true);
  }

  /** `through` is called, later than now, when the host has answered. */
  async connect(route: IrohRoute, wait: Wait, through: () => void): Promise<Dialled> {
    wait.signal.throwIfAborted();
    const endpoint = await this.#endpoints.current();
    wait.signal.throwIfAborted();
    const connection = await endpoint.connect(route, wait.label, wait);
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
      agentSocket = await agentFor(route, wait);
      const identity = await authenticate(stream, { agentSocket, onSign, ...wait });
      this.#remember(route, agentSocket, identity.unattended);
      return { connection, fingerprint: identity.fingerprint };
    } catch (error) {
      if (signs && !wait.signal.aborted) this.#remember(route, agentSocket, false);
      connection.close().catch(ignore);
      throw error;
    }
  }

  /** After the last connection: closes the endpoints. */
  close(): Promise<void> {
    return this.#endpoints.close();
  }

  #remember(route: IrohRoute, agentSocket: string | undefined, unattended: boolean): void {
    const key = connectionKey(route);
    if (unattended && agentSocket !== undefined) this.#unattended.set(key, agentSocket);
    else this.#unattended.delete(key);
  }
}

/** What a dial needs: a connection serves all routes with the same key. */
export function connectionKey(route: IrohRoute): string {
  return `${route.endpointId}|${route.relayUrl ?? ''}|${route.ipAddr ?? ''}`;
}

/** Two callers share a dial only when they would authenticate with the same agent. */
export function dialKey(route: IrohRoute): string {
  return `${connectionKey(route)}|${route.sshAuth ? agentsOf(route).join(':') : '-'}`;
}

/** Whose keys may be used, the caller's own first. */
export function agentsOf({ agentSocket, earlierAgents = [] }: IrohRoute): string[] {
  return agentSocket === undefined ? [] : [agentSocket, ...earlierAgents];
}

/** The first that answers; where there is no choice, or none answers, the failure is that of the caller's own. */
async function agentFor(route: IrohRoute, wait: Wait): Promise<string | undefined> {
  const agents = agentsOf(route);
  const answering = agents.length > 1 ? await answeringAgent(agents, wait) : undefined;
  return answering?.agentSocket ?? route.agentSocket;
}

function ignore(): void {
  // A connection that is being closed may fail in any way.
}
