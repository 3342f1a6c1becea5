// A context that has target sockets: whose environment counts for them, and which agents.
import { agrees, type Reads } from '../../config/bmux/reads.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import type { CallerEnv, EnvName, StreamRequest } from '../../api/request.ts';
import { contextInputs } from '../contexts/context-key.ts';
import type { KnownContext } from './client-file.ts';

/** What picks a context. */
export type Asking = Pick<KnownContext, 'env' | 'cwd' | 'slot'>;

/** Whoever asks for a target socket, with the agents of those who asked before. */
export interface Asked {
  readonly asking: Asking;
  /** SSH_AUTH_SOCK of the latest callers, the last one's first. */
  readonly agents: readonly string[];
}

export interface Served {
  /** Of the context (daemon/control/contexts/context-key.ts). */
  readonly key: string;
  /** As its first caller had it, but for what belongs to the caller: there the last one's counts. */
  asked: Asked;
  /** Targets outside the config, the oldest first. */
  readonly inline: Set<string>;
}

/** Of the caller, not of the context. */
const OF_THE_CALLER: readonly EnvName[] = ['BMUX_TARGET', 'BMUX_CONTROL_PLANE_URL', 'TERM'];
/** Agents of one context; a login that has ended leaves one that is not there any more. */
const MAX_AGENTS = 4;

export function servedFor({ env, cwd, slot, earlierAgents, inline }: KnownContext): Served {
  const { key } = contextInputs(env, cwd, slot);
  const agents = latest(env.SSH_AUTH_SOCK, earlierAgents);
  return { key, asked: askedWith({ env, cwd, slot }, agents), inline: new Set(inline) };
}

/** True when `asking` may share what is served: it would get the same from the same files. */
export function isSharedBy({ key, asked }: Served, asking: Asking, reads: Reads): boolean {
  const { env, cwd, slot } = asking;
  return key === contextInputs(env, cwd, slot).key && agrees(asked.asking.env, reads);
}

/** What counts once `asking` has asked. A caller that has no agent, such as a job of cron, takes nobody else's away. */
export function askedAfter(served: Served | undefined, asking: Asking): Asked {
  const agents = latest(asking.env.SSH_AUTH_SOCK, served?.asked.agents ?? []);
  if (served === undefined) return askedWith(asking, agents);
  const first = served.asked.asking;
  const env: Partial<Record<EnvName, string>> = { ...first.env };
  for (const name of OF_THE_CALLER) {
    delete env[name];
    const own = asking.env[name];
    if (own !== undefined) env[name] = own;
  }
  // From another folder a relative path of the first caller's would lead elsewhere.
  const same = contextInputs(env, asking.cwd, first.slot).key === served.key;
  return askedWith(same ? { env, cwd: asking.cwd, slot: first.slot } : asking, agents);
}

/** What was remembered of a context that is served already. */
export function addRemembered(served: Served, { env, earlierAgents, inline }: KnownContext): void {
  const { asking, agents } = served.asked;
  const before = latest(env.SSH_AUTH_SOCK, earlierAgents);
  served.asked = askedWith(asking, [...new Set([...agents, ...before])].slice(0, MAX_AGENTS));
  for (const target of inline) served.inline.add(target);
}

export function toRemember({ asked, inline }: Served, folder: string): KnownContext {
  return { ...asked.asking, earlierAgents: asked.agents.slice(1), inline: [...inline], folder };
}

/** The target with every agent that may do for it: the engine takes the first that answers. */
export function withAgents(target: Destination, [, ...earlier]: readonly string[]): Destination {
  const { route } = target;
  if (route.transport !== 'iroh' || route.agentSocket === undefined || earlier.length === 0) return target;
  return { ...target, route: { ...route, earlierAgents: earlier } };
}

export function requestOf({ env, cwd, slot }: Asking): Pick<StreamRequest, 'env' | 'slot' | 'cwd'> {
  return { env, ...(cwd === undefined ? {} : { cwd }), ...(slot === undefined ? {} : { slot }) };
}

function latest(agent: string | undefined, before: readonly string[]): string[] {
  const now = agent === undefined || agent === '' ? [] : [agent];
  return [...new Set([...now, ...before])].slice(0, MAX_AGENTS);
}

function askedWith(asking: Asking, agents: readonly string[]): Asked {
  const { SSH_AUTH_SOCK: _, ...rest } = asking.env;
  const [agent] = agents;
  const env: CallerEnv = agent === undefined ? rest : { ...rest, SSH_AUTH_SOCK: agent };
  return { asking: { ...asking, env }, agents };
}
