// `bmuxd warm` and `bmuxd drop`: open a warm connection to a target before it is needed, or close the warm connections.
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { asciiJson } from '../../api/header.ts';
import { LIMITS } from '../../base/limits.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { anything } from '../../api/shape.ts';
import { askControl } from '../ask-control.ts';
import type { Run } from '../command.ts';
import { reach } from '../reach.ts';

export const warm: Run = async (context) => {
  await reach(context.args[0] ?? '', { ...context, env: withoutTargetSocket(context.env) }, 'bmuxd warm');
  return 0;
};

export const drop: Run = async (context) => {
  const { cwd } = context;
  const env = withoutTargetSocket(context.env);
  const request: StreamRequest = { target: context.args[0] ?? '', cwd, env: whitelisted(env) };
  const headers = { 'bmux-request': asciiJson(request) };
  // Longer than control's own time limit, because control's failure says more than a timeout here.
  const timeoutMs = LIMITS.prepareMs + 2 * LIMITS.silenceMs;
  await askControl(env, { method: 'POST', path: '/v1/drop', headers, timeoutMs }, anything);
  return 0;
};
