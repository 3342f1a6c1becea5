// `bmuxd env` and `bmuxd exec`: the environment in which an unmodified bmux talks to a target through its target socket.
import type { Variables } from '../../api/target-socket-env.ts';
import type { Run } from '../command.ts';
import { runCommand } from '../run-command.ts';
import { startIfNeeded } from '../service/autostart.ts';
import { variablesFor } from '../target-variables.ts';

const quotedSh = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;
const quotedFish = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function variablesForSh(variables: Variables): string {
  return variables.map(([name, value]) => `export ${name}=${quotedSh(value)}\n`).join('');
}

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

export const exec: Run = async (context) => {
  const [target = '', ...rest] = context.args;
  // A target that begins with `-` stands behind a `--` of its own: bmuxd exec -- TARGET -- COMMAND.
  const [command = '', ...args] = rest[0] === '--' ? rest.slice(1) : rest;
  await startIfNeeded(context);
  if (context.options['reattach'] === true) {
    const { reattach } = await import('../attach/reattach.ts');
    return reattach({ target, command, args }, context);
  }
  const { variables } = await variablesFor(target, context);
  const ran = await runCommand(command, args, { ...context.env, ...Object.fromEntries(variables) });
  return ran.status;
};
