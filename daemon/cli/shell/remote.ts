// Whether bmuxd serves a target: the question of `bmuxd exec --if-remote`, for a shell that does not know it.
import { isTargetList } from '../../api/answer-shapes.ts';
import { whitelisted } from '../../api/caller-env.ts';
import { asciiJson } from '../../api/header.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { LIMITS } from '../../base/limits.ts';
import { askControl } from '../ask-control.ts';
import type { CommandContext } from '../command.ts';
import { SCHEMES } from './bmux-commands.ts';

/** The name of the target, or of the default one when `target` is empty; undefined for one that a bmux reaches by itself. */
export async function remoteTarget(
  target: string,
  { env, cwd }: Pick<CommandContext, 'env' | 'cwd'>,
): Promise<string | undefined> {
  const caller = withoutTargetSocket(env);
  const headers = { 'bmux-request': asciiJson({ cwd, env: whitelisted(caller) }) };
  const question = { method: 'GET', path: '/v1/targets', headers, timeoutMs: 2 * LIMITS.prepareMs } as const;
  const { targets } = await askControl(caller, question, isTargetList);
  const row = targets.find(({ name, isDefault }) => (target === '' ? isDefault : name === target));
  if (row !== undefined) return row.transport === 'local' ? undefined : row.name;
  return SCHEMES.some((scheme) => target.startsWith(scheme)) ? target : undefined;
}
