// Parses the arguments of a command by its row of the table. Every mistake is told with what may have been meant.
import { parseArgs } from 'node:util';
import { textOf, type Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { meant } from '../../errors/nearest.ts';
import type { Command, CommandContext } from '../command.ts';
import { misfit } from './forms.ts';
import { optionsOf } from './help.ts';

export type Parsed = Pick<CommandContext, 'options' | 'args' | 'argsBeforeDashes'>;

/** Throws `usage` for an option that does not exist. Whether the arguments fit is asked of `misfit`, since `--help` needs none. */
export function parsed(command: Command, argv: readonly string[]): Parsed {
  // Node loads two modules for the first use of `parseArgs`.
  if (argv.length === 0) return { options: {}, args: [], argsBeforeDashes: 0 };
  const options = Object.fromEntries(
    optionsOf(command).map(([name, { type, short }]) => [
      name,
      short === undefined ? { type } : { type, short },
    ]),
  );
  const config = { args: [...argv], options, allowPositionals: true, tokens: true } as const;
  for (const token of parseArgs({ ...config, strict: false }).tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    // Node says that this is ambiguous, and not how to write it.
    if (options[name]?.type === 'string' && inlineValue === false && value.startsWith('-') && value !== '-')
      throw usage(
        command,
        `${rawName} takes a value, and '${value}' may be an option; write --${name}=${value} for the value`,
      );
    if (Object.hasOwn(options, name)) continue;
    const names = Object.keys(options).map((name) => `--${name}`);
    throw usage(command, `there is no option ${rawName}${meant(rawName, names)}`);
  }
  let found;
  try {
    found = parseArgs({ ...config, strict: true });
  } catch (error) {
    throw usage(command, textOf(error));
  }
  const values: Record<string, string | boolean | undefined> = {};
  for (const [name, value] of Object.entries(found.values)) {
    if (typeof value === 'string' || typeof value === 'boolean') values[name] = value;
  }
  for (const [name, { values: taken }] of optionsOf(command)) {
    const value = values[name];
    if (typeof value !== 'string' || taken === undefined || taken.includes(value)) continue;
    throw usage(command, `--${name}: '${value}' is none of ${taken.join(', ')}${meant(value, taken)}`);
  }
  const dashes = found.tokens.findIndex(({ kind }) => kind === 'option-terminator');
  const tokens = dashes < 0 ? found.tokens : found.tokens.slice(0, dashes);
  const argsBeforeDashes = tokens.filter(({ kind }) => kind === 'positional').length;
  return { options: values, args: found.positionals, argsBeforeDashes };
}

/** Throws `usage` when the arguments fit no form of the command. */
export function checkArgs(command: Command, { args, argsBeforeDashes }: Parsed): void {
  const isCut = args.length > 0 && argsBeforeDashes === 0 && args[1] !== '--';
  if (isCut && command.forms.some((form) => form.includes(' -- ')))
    throw usage(
      command,
      `a target is missing: write \`bmuxd ${command.name} ${command.forms.join(' or ')}\``,
    );
  const why = misfit(command, args);
  if (why !== undefined) throw usage(command, why);
}

function usage({ name }: Command, why: string): Failure {
  return fail('usage', { why: `bmuxd ${name}: ${why}`, command: `bmuxd ${name}` });
}
