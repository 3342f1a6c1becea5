// `bmuxd env`: prints the environment in which an unmodified bmux talks to a target through its target socket.
import type { Variables } from '../../api/target-socket-env.ts';
import type { Run } from '../command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { variablesFor } from '../target-variables.ts';
import { quotedFish, variablesForSh } from './quoted.ts';

/** By the values of `--shell`. */
const SHELLS: Readonly<Record<string, (variables: Variables) => string>> = {
  bash: variablesForSh,
  zsh: variablesForSh,
  fish: (variables) => variables.map(([name, value]) => `set -gx ${name} ${quotedFish(value)}\n`).join(''),
  json: (variables) => `${JSON.stringify(Object.fromEntries(variables), null, 2)}\n`,
};

export const env: Run = async (context) => {
  const [target = ''] = context.args;
  const print = SHELLS[String(context.options['shell'] ?? 'bash')] ?? variablesForSh;
  await startIfNeeded(context);
  const { variables } = await variablesFor(target, context);
  context.out(print(variables));
  return 0;
};
