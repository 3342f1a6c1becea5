// The clients of the target sockets of one context: the environment that is used for all of them, and their SSH agents.
import type { CallerEnv, EnvName, StreamRequest } from '../../../api/request.ts';
import { LruMap } from '../../../base/lru-map.ts';
import { agentSocketOf } from '../../../base/paths.ts';
import { agrees, type Reads } from '../../../config/bmux/reads.ts';
import type { Destination } from '../../../engine-protocol/plan.ts';
import { contextInputs } from '../../contexts/context-key.ts';
import type { RememberedClients } from './client-file.ts';

/** The parts of a request that determine its context. */
export type ClientEnvironment = Pick<RememberedClients, 'env' | 'cwd' | 'slot'>;

/** All clients that share the target sockets of one context. */
export interface ContextClients {
  /** Key of the context (daemon/control/contexts/context-key.ts). */
  readonly key: string;
  /** The first client's environment, with the variables `OF_EACH_CLIENT` of the latest client. */
  environment: ClientEnvironment;
  /** SSH_AUTH_SOCK of the latest clients, the latest first; at most `MAX_AGENTS`. */
  agents: readonly string[];
  /** Targets outside the config that keep a target socket. */
  readonly inline: LruMap<string, true>;
  /** True once a target socket has been made for one of the clients. Before that they are not saved. */
  isConfirmed: boolean;
}

/** Variables that may differ between clients of one context, because they do not determine it. */
const OF_EACH_CLIENT: readonly EnvName[] = ['BMUX_TARGET', 'BMUX_CONTROL_PLANE_URL', 'TERM'];
/** SSH agents that are kept for one context. Several are kept because an agent ends with its login session. */
const MAX_AGENTS = 4;
/** Most inline targets of one context that keep a target socket. A further one replaces the least recently used. */
const MAX_INLINE = 64;

/** The clients of a context as they were saved. */
export function clientsOf(remembered: RememberedClients): ContextClients {
  const { env, cwd, slot, earlierAgents, inline } = remembered;
  const agents = latest(agentOf({ env, cwd }), earlierAgents);
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

/** The clients of a context that has its first client. */
export function firstClient(environment: ClientEnvironment): ContextClients {
  const clients = clientsOf({ ...environment, inline: [], earlierAgents: [], folder: undefined });
  return { ...clients, isConfirmed: false };
}

/** True when a client with `environment` may share these target sockets: its key is the same, and it agrees in the variables `reads`. */
export function mayShare(clients: ContextClients, environment: ClientEnvironment, reads: Reads): boolean {
  const { env, cwd, slot } = environment;
  return clients.key === contextInputs(env, cwd, slot).key && agrees(clients.environment.env, reads);
}

/** Adds a client. One without an SSH agent, such as a cron job, leaves the agents as they are. True when the agents have changed. */
export function addClient(clients: ContextClients, environment: ClientEnvironment): boolean {
  const agents = latest(agentOf(environment), clients.agents);
  const isOther = agents.join() !== clients.agents.join();
  const first = clients.environment;
  const env: Partial<Record<EnvName, string>> = { ...first.env };
  for (const name of OF_EACH_CLIENT) {
    delete env[name];
    const own = environment.env[name];
    if (own !== undefined) env[name] = own;
  }
  // Relative paths of the first client may lead to other files from the folder of this one. Its whole environment is used then.
  const isSame = contextInputs(env, environment.cwd, first.slot).key === clients.key;
  clients.environment = withAgent(
    isSame ? { env, cwd: environment.cwd, slot: first.slot } : environment,
    agents,
  );
  clients.agents = agents;
  return isOther;
}

/** Adds saved clients to a context that has clients already. */
export function addRemembered(clients: ContextClients, remembered: RememberedClients): void {
  const earlier = latest(agentOf(remembered), remembered.earlierAgents);
  clients.agents = [...new Set([...clients.agents, ...earlier])].slice(0, MAX_AGENTS);
  clients.environment = withAgent(clients.environment, clients.agents);
  for (const target of remembered.inline) clients.inline.set(target, true);
}

/** The clients in the form in which they are saved. */
export function toRemember(clients: ContextClients, folder: string): RememberedClients {
  const { environment, agents, inline } = clients;
  return { ...environment, earlierAgents: agents.slice(1), inline: [...inline.keys()], folder };
}

/** The destination with the agents of earlier clients. The engine uses the first agent that answers. */
export function withAgents(target: Destination, [, ...earlier]: readonly string[]): Destination {
  const { route } = target;
  const { transport } = route;
  if (transport !== 'iroh' && transport !== 'ssh') return target;
  if (route.agentSocket === undefined || earlier.length === 0) return target;
  return { ...target, route: { ...route, earlierAgents: earlier } };
}

/** A request that leads to the context of this environment. */
export function requestOf({
  env,
  cwd,
  slot,
}: ClientEnvironment): Pick<StreamRequest, 'env' | 'slot' | 'cwd'> {
  return { env, ...(cwd === undefined ? {} : { cwd }), ...(slot === undefined ? {} : { slot }) };
}

/** The socket of a client's SSH agent. A relative path is below the folder of that client, and others may be in another one. */
function agentOf({ env, cwd }: Pick<ClientEnvironment, 'env' | 'cwd'>): string | undefined {
  return agentSocketOf(env, contextInputs(env, cwd, undefined).cwd);
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
