// `bmuxd exec`: runs a command in the environment of a target socket. The shell that is in front of Node becomes the command (front.sh);
// without it, the command is a child of this process.
import type { Run } from '../command.ts';
import { runCommand } from './run-command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { variablesFor } from '../target-variables.ts';
import { checkRunnable, droppedIn, environOfParent, shellProgram } from './replace.ts';

export const exec: Run = async (context) => {
  const [target = '', ...rest] = context.args;
  // A target that begins with `-` stands behind a `--` of its own: bmuxd exec -- TARGET -- COMMAND.
  const [command = '', ...args] = rest[0] === '--' ? rest.slice(1) : rest;
  const { env, shell } = context;
  await startIfNeeded(context);
  if (context.options['reattach'] === true) {
    // This process stays, to run the command again.
    if (shell !== undefined) return shell.stay();
    const { reattach } = await import('../attach/reattach.ts');
    return reattach({ target, command, args }, context);
  }
  const { variables } = await variablesFor(target, context);
  const inside = { ...env, ...Object.fromEntries(variables) };
  if (shell !== undefined) {
    checkRunnable(command, inside);
    return shell.run(
      shellProgram({ command, words: args.length + 1, variables, dropped: droppedIn(environOfParent()) }),
    );
  }
  const ran = await runCommand(command, args, inside);
  return ran.status;
};
