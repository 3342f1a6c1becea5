// Waits until a target answers, and makes its target socket: what `bmuxd env`, `exec` and `attach` begin with.
import { asciiJson } from '../api/header.ts';
import { isTargetSocketAnswer } from '../api/answer-shapes.ts';
import { whitelisted } from '../api/caller-env.ts';
import type { StreamRequest } from '../api/request-types.ts';
import { targetSocketVariables, withoutTargetSocket, type SetVariables } from '../api/target-socket-env.ts';
import { LIMITS } from '../base/limits.ts';
import { bmuxdPaths } from '../base/paths.ts';
import { askControl } from './ask-control.ts';
import { reach, type ReachContext } from './reach.ts';

export interface TargetVariables {
  /** What to set so that an unmodified bmux talks to the target. */
  readonly variables: SetVariables;
  /** The target as the broker names it. */
  readonly target: string;
}

/** Rejects with the broker's failure. Without a target, the caller's default one is meant. */
export async function variablesFor(
  target: string | undefined,
  context: ReachContext & { readonly signal?: AbortSignal },
): Promise<TargetVariables> {
  const { cwd } = context;
  const env = withoutTargetSocket(context.env);
  const info = await reach(target, { ...context, env }, 'bmuxd env');
  const request: StreamRequest = { ...(target === undefined ? {} : { target }), cwd, env: whitelisted(env) };
  const question = {
    method: 'POST',
    path: '/v1/target-sockets',
    headers: { 'bmux-request': asciiJson(request) },
    timeoutMs: LIMITS.targetSocketMs + 2 * LIMITS.silenceMs,
  } as const;
  const targetSocket = await askControl(env, question, isTargetSocketAnswer);
  const variables = targetSocketVariables(targetSocket.runtimeDir, bmuxdPaths(env).controlSocket, env);
  return { variables, target: info.target };
}
