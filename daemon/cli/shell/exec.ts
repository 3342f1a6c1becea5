// `bmuxd exec`: runs a command in the environment of a target socket. The shell that is in front of Node becomes the command (front.sh);
// without it, the command is a child of this process.
import type { SetVariables } from '../../api/target-socket-env.ts';
import { Failure } from '../../base/failure.ts';
import type { CommandContext, Run } from '../command.ts';
import { runCommand } from './run-command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { variablesFor } from '../target-variables.ts';
import { remoteTarget } from './remote.ts';
import { checkRunnable, droppedIn, environOfParent, shellProgram } from './replace.ts';

export const exec: Run = async (context) => {
  const [target = '', ...rest] = context.args;
  // A target that begins with `-` stands behind a `--` of its own: bmuxd exec -- TARGET -- COMMAND.
  const [command = '', ...args] = rest[0] === '--' ? rest.slice(1) : rest;
  const { shell, options } = context;
  const found = options['if-remote'] === true ? await served(target, context) : target;
  if (found === undefined)
    return become(command, args, target === '' ? [] : [['BMUX_TARGET', target]], context);
  await startIfNeeded(context, found);
  if (options['reattach'] === true) {
    // This process stays, to run the command again.
    if (shell !== undefined) return shell.stay();
    const { reattach } = await import('../attach/reattach.ts');
    return reattach({ target: found, command, args }, context);
  }
  const { variables } = await variablesFor(found, context);
  return become(command, args, variables, context);
};

/** The target when bmuxd serves it. Without a daemon it serves none, and says so. */
async function served(target: string, context: CommandContext): Promise<string | undefined> {
  try {
    await startIfNeeded(context);
    return await remoteTarget(target, context);
  } catch (error) {
    if (!(error instanceof Failure) || error.data.code !== 'daemon_not_running') throw error;
    context.err('bmuxd is not running: bmux connects by itself\n');
    return undefined;
  }
}

/** Runs the command with the variables. The shell in front of this process becomes the command. */
async function become(
  command: string,
  args: readonly string[],
  variables: SetVariables,
  { env, shell }: CommandContext,
): Promise<number> {
  const inside = { ...env, ...Object.fromEntries(variables) };
  if (shell === undefined) return (await runCommand(command, args, inside)).status;
  checkRunnable(command, inside);
  const dropped = droppedIn(environOfParent());
  return shell.run(shellProgram({ command, words: args.length + 1, variables, dropped }));
}
