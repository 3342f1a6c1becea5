// The clients of one context's target sockets: whose environment counts for all of them, and which SSH agents may be asked.
import type { CallerEnv, EnvName, StreamRequest } from '../../api/request.ts';
import { LruMap } from '../../base/lru-map.ts';
import { agrees, type Reads } from '../../config/bmux/reads.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import { contextInputs } from '../contexts/context-key.ts';
import type { RememberedClients } from './client-file.ts';

/** What picks a context. */
export type ClientEnvironment = Pick<RememberedClients, 'env' | 'cwd' | 'slot'>;

/** All clients that share the target sockets of one context. */
export interface ContextClients {
  /** Names the files of the context (daemon/control/contexts/context-key.ts). */
  readonly key: string;
  /** As the first client had it, except for the variables that belong to each client: the last client's count there. */
  environment: ClientEnvironment;
  /** SSH_AUTH_SOCK of the latest clients, the last one's first. */
  agents: readonly string[];
  /** Targets outside the config that have a target socket. */
  readonly inline: LruMap<string, true>;
  /** False until a target socket has been made for one of them: nothing is remembered of a first client whose request fails. */
  isConfirmed: boolean;
}

/** Variables that belong to each client, and decide nothing about its context. */
const OF_EACH_CLIENT: readonly EnvName[] = ['BMUX_TARGET', 'BMUX_CONTROL_PLANE_URL', 'TERM'];
/** Agents that are kept for one context: the agent of a login goes when the login ends. */
const MAX_AGENTS = 4;
/** Inline targets of one context that keep a target socket; a further one replaces the least recently used. */
const MAX_INLINE = 64;

export function clientsOf(remembered: RememberedClients): ContextClients {
  const { env, cwd, slot, earlierAgents, inline } = remembered;
  const agents = latest(env.SSH_AUTH_SOCK, earlierAgents);
  const clients: ContextClients = {
    key: contextInputs(env, cwd, slot).key,
    environment: withAgent({ env, cwd, slot }, agents),
    agents,
    inline: new LruMap(MAX_INLINE),
    isConfirmed: true,
  };
  for (const target of inline) clients.inline.set(target, true);
  return clients;
}

/** The first client of a context. */
export function firstClient(environment: ClientEnvironment): ContextClients {
  const clients = clientsOf({ ...environment, inline: [], earlierAgents: [], folder: undefined });
  return { ...clients, isConfirmed: false };
}

/** True when a client with `environment` gets the same from the same files, and so may share the target sockets. */
export function mayShare(clients: ContextClients, environment: ClientEnvironment, reads: Reads): boolean {
  const { env, cwd, slot } = environment;
  return clients.key === contextInputs(env, cwd, slot).key && agrees(clients.environment.env, reads);
}

/** Another client uses the target sockets. One without an agent, such as a cron job, takes nobody's agent away. True when the agents have changed. */
export function addClient(clients: ContextClients, environment: ClientEnvironment): boolean {
  const agents = latest(environment.env.SSH_AUTH_SOCK, clients.agents);
  const isOther = agents.join() !== clients.agents.join();
  const first = clients.environment;
  const env: Partial<Record<EnvName, string>> = { ...first.env };
  for (const name of OF_EACH_CLIENT) {
    delete env[name];
    const own = environment.env[name];
    if (own !== undefined) env[name] = own;
  }
  // In another folder a relative path of the first client's would lead to other files.
  const isSame = contextInputs(env, environment.cwd, first.slot).key === clients.key;
  clients.environment = withAgent(
    isSame ? { env, cwd: environment.cwd, slot: first.slot } : environment,
    agents,
  );
  clients.agents = agents;
  return isOther;
}

/** Adds what was remembered of a context that has clients already. */
export function addRemembered(clients: ContextClients, remembered: RememberedClients): void {
  const earlier = latest(remembered.env.SSH_AUTH_SOCK, remembered.earlierAgents);
  clients.agents = [...new Set([...clients.agents, ...earlier])].slice(0, MAX_AGENTS);
  clients.environment = withAgent(clients.environment, clients.agents);
  for (const target of remembered.inline) clients.inline.set(target, true);
}

export function toRemember(clients: ContextClients, folder: string): RememberedClients {
  const { environment, agents, inline } = clients;
  return { ...environment, earlierAgents: agents.slice(1), inline: [...inline.keys()], folder };
}

/** The destination with every agent that may do: the engine takes the first that answers. */
export function withAgents(target: Destination, [, ...earlier]: readonly string[]): Destination {
  const { route } = target;
  if (route.transport !== 'iroh' || route.agentSocket === undefined || earlier.length === 0) return target;
  return { ...target, route: { ...route, earlierAgents: earlier } };
}

export function requestOf({
  env,
  cwd,
  slot,
}: ClientEnvironment): Pick<StreamRequest, 'env' | 'slot' | 'cwd'> {
  return { env, ...(cwd === undefined ? {} : { cwd }), ...(slot === undefined ? {} : { slot }) };
}

function latest(agent: string | undefined, earlier: readonly string[]): string[] {
  const now = agent === undefined || agent === '' ? [] : [agent];
  return [...new Set([...now, ...earlier])].slice(0, MAX_AGENTS);
}

function withAgent(environment: ClientEnvironment, [agent]: readonly string[]): ClientEnvironment {
  const { SSH_AUTH_SOCK: _, ...others } = environment.env;
  const env: CallerEnv = agent === undefined ? others : { ...others, SSH_AUTH_SOCK: agent };
  return { ...environment, env };
}
