// `bmuxd warm` and `bmuxd drop`: open a warm connection to a target before it is needed, or close the warm connections.
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { asciiJson } from '../../api/header.ts';
import { sleep } from '../../base/async/sleep.ts';
import { LIMITS } from '../../base/limits.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { anything } from '../../api/shape.ts';
import { askControl } from '../ask-control.ts';
import type { CommandContext, Run } from '../command.ts';
import { reach } from '../reach.ts';
import { askAbout } from '../status/target-status.ts';

/** ms that the engine has to make a spare, and between two looks whether there is one. */
const WARM_MS = 3000;
const LOOK_MS = 50;

export const warm: Run = async (context) => {
  const [target = ''] = context.args;
  const caller = { ...context, env: withoutTargetSocket(context.env) };
  const { transport } = await reach(target, caller, 'bmuxd warm');
  // Nothing is kept of a local server.
  if (transport === 'local') return 0;
  await post('/v1/warm', target, caller);
  const until = performance.now() + WARM_MS;
  while ((await askAbout(target, caller)).upstream?.warm !== true && performance.now() < until)
    await sleep(LOOK_MS);
  return 0;
};

export const drop: Run = async (context) => {
  await post('/v1/drop', context.args[0] ?? '', { ...context, env: withoutTargetSocket(context.env) });
  return 0;
};

async function post(
  path: string,
  target: string,
  { env, cwd }: Pick<CommandContext, 'env' | 'cwd'>,
): Promise<void> {
  const request: StreamRequest = { target, cwd, env: whitelisted(env) };
  const headers = { 'bmux-request': asciiJson(request) };
  // Longer than control's own time limit, because control's failure says more than a timeout here.
  const timeoutMs = LIMITS.prepareMs + 2 * LIMITS.silenceMs;
  await askControl(env, { method: 'POST', path, headers, timeoutMs }, anything);
}
