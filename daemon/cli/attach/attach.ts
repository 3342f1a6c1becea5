// `bmuxd attach`: the unmodified `bmux attach`, which is started again when its connection was lost.
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { fail } from '../../errors/fail.ts';
import type { Run } from '../command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { reattach } from './reattach.ts';

export const attach: Run = async (context) => {
  const { args, argsBeforeDashes } = context;
  const own = args.slice(0, argsBeforeDashes);
  const [target, session, extra] = own;
  if (extra !== undefined)
    throw fail('usage', {
      why: `bmuxd attach: unexpected argument '${extra}'; arguments of bmux follow a --`,
      command: 'bmuxd attach',
    });
  const given = [...(session === undefined ? [] : [session]), ...args.slice(own.length)];
  await startIfNeeded(context, target);
  const env = withoutTargetSocket(context.env);
  return reattach({ target, command: 'bmux', args: ['attach', ...given] }, { ...context, env });
};
