// `bmuxd warm` and `bmuxd drop`: open a warm connection to a target before it is needed, or close the warm connections.
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { asciiJson } from '../../api/header.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { anything } from '../../api/shape.ts';
import { askControl } from '../ask-control.ts';
import type { Command, CommandContext } from '../command.ts';
import { reach } from '../reach.ts';

function targetOf(command: string, { args }: CommandContext): string {
  const [target] = args;
  if (target === undefined)
    throw fail('usage', { why: `bmuxd ${command}: name a target`, command: `bmuxd ${command}` });
  return target;
}

export const warm: Command = {
  name: 'warm',
  args: 'TARGET',
  about: 'open a warm connection to a target now; fails with the reason when it cannot be reached',
  options: {},
  maxArgs: 1,
  run: async (context) => {
    await reach(
      targetOf('warm', context),
      { ...context, env: withoutTargetSocket(context.env) },
      'bmuxd warm',
    );
    return 0;
  },
};

export const drop: Command = {
  name: 'drop',
  args: 'TARGET',
  about: 'close the warm connections and spares of a target; live streams continue',
  options: {},
  maxArgs: 1,
  run: async (context) => {
    const { cwd } = context;
    const env = withoutTargetSocket(context.env);
    const request: StreamRequest = { target: targetOf('drop', context), cwd, env: whitelisted(env) };
    const headers = { 'bmux-request': asciiJson(request) };
    // Longer than control's own time limit, because control's failure says more than a timeout here.
    const timeoutMs = LIMITS.prepareMs + 2 * LIMITS.silenceMs;
    await askControl(env, { method: 'POST', path: '/v1/drop', headers, timeoutMs }, anything);
    return 0;
  },
};
