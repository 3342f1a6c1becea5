// `bmuxd env`: prints the environment in which an unmodified bmux talks to a target through its target socket, or what undoes it.
import { undoTargetSocket } from '../../api/target-socket-env.ts';
import { fail } from '../../errors/fail.ts';
import type { CommandContext, Run } from '../command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { variablesFor } from '../target-variables.ts';
import { variablesForFish, variablesForSh, type ShellVariables } from './quoted.ts';

/** By the values of `--shell`. */
const SHELLS: Readonly<Record<string, (settings: ShellVariables) => string>> = {
  bash: variablesForSh,
  zsh: variablesForSh,
  fish: variablesForFish,
  json: (settings) =>
    `${JSON.stringify(Object.fromEntries(settings.map(([name, value]) => [name, value ?? null])), null, 2)}\n`,
};

export const env: Run = async (context) => {
  const print = SHELLS[String(context.options['shell'] ?? 'bash')] ?? variablesForSh;
  context.out(print(await settingsFor(context)));
  return 0;
};

async function settingsFor(context: CommandContext): Promise<ShellVariables> {
  const [target] = context.args;
  const command = 'bmuxd env';
  if (context.options['unset'] === true) {
    if (target !== undefined) throw fail('usage', { why: '--unset takes no target', command });
    return undoTargetSocket(context.env);
  }
  if (target === undefined)
    throw fail('usage', { why: 'TARGET is missing: write `bmuxd env TARGET`', command });
  await startIfNeeded(context, target);
  return (await variablesFor(target, context)).variables;
}
