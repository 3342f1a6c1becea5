// The command line. Argument parsing, help and dispatch all use one table of commands (commands.ts).
import { parseArgs } from 'node:util';
import { asText } from '../../client-shim/failure-text.ts';
import { textOf, type Failure } from '../base/failure.ts';
import { asFailure, fail } from '../errors/fail.ts';
import type { Command, CommandContext, OptionRow } from './command.ts';
import { allCommands, commandNamed } from './commands.ts';

const EXITS =
  '0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 --if-running found nothing, 5 refused by policy, 6 not authorised, 7 out of time, 8 stream lost';

/** What the command line does not say. */
type Outside = Omit<CommandContext, 'options' | 'args' | 'argsBeforeDashes'>;

/** Runs one command line; resolves to the exit status (docs/bmux-protocol.md, "Exit statuses"). Never rejects. */
export async function main(argv: readonly string[], context: Outside): Promise<number> {
  try {
    return await dispatch(argv, context);
  } catch (error) {
    const failure = asFailure(error);
    context.err(asText(failure, 'bmuxd'));
    return failure.data.exitStatus;
  }
}

async function dispatch(argv: readonly string[], context: Outside): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    context.err(await help());
    return 2;
  }
  if (name === '--help' || name === '-h' || name === 'help') {
    context.out(await help());
    return 0;
  }
  if (name === '--version' || name === '-V') {
    context.out(`bmuxd ${context.version}\n`);
    return 0;
  }
  const command = await commandNamed(name);
  if (command === undefined) {
    throw fail('usage', { why: `bmuxd: there is no command '${name}'`, command: 'bmuxd' });
  }
  const parsed = parse(command, rest);
  if (parsed.values['help'] === true) {
    context.out(helpOf(command));
    return 0;
  }
  return command.run({
    ...context,
    options: parsed.values,
    args: parsed.positionals,
    argsBeforeDashes: parsed.before,
  });
}

function parse(command: Command, args: readonly string[]) {
  const usage = (why: string, cause?: unknown): Failure =>
    fail('usage', { why: `bmuxd ${command.name}: ${why}`, command: `bmuxd ${command.name}` }, cause);
  const options: Record<string, { type: OptionRow['type']; short?: string }> = {
    help: { type: 'boolean', short: 'h' },
  };
  for (const [name, { type }] of Object.entries(command.options)) options[name] = { type };
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true, tokens: true });
  } catch (error) {
    throw usage(textOf(error));
  }
  const extra = parsed.positionals[command.maxArgs];
  if (extra !== undefined) throw usage(`unexpected argument '${extra}'`);
  const values: Record<string, string | boolean | undefined> = {};
  for (const [name, value] of Object.entries(parsed.values)) {
    if (typeof value === 'string' || typeof value === 'boolean') values[name] = value;
  }
  const dashes = parsed.tokens.findIndex(({ kind }) => kind === 'option-terminator');
  const tokens = dashes < 0 ? parsed.tokens : parsed.tokens.slice(0, dashes);
  const before = tokens.filter(({ kind }) => kind === 'positional').length;
  return { values, positionals: parsed.positionals, before };
}

async function help(): Promise<string> {
  const commands = await allCommands();
  const width = Math.max(...commands.map((command) => `${command.name} ${command.args}`.length));
  const rows = commands.map(
    (command) => `  ${`${command.name} ${command.args}`.padEnd(width)}  ${command.about}`,
  );
  return [
    'bmuxd keeps connections to bmux servers warm and hands streams to short-lived commands.',
    '',
    'Usage: bmuxd COMMAND [OPTIONS]',
    '',
    ...rows,
    '',
    'bmuxd COMMAND --help shows the options; bmuxd --version the version.',
    `Exit status: ${EXITS}.`,
    '',
  ].join('\n');
}

function helpOf(command: Command): string {
  const options: [string, OptionRow][] = [
    ...Object.entries(command.options),
    ['help', { type: 'boolean', about: 'show this' }],
  ];
  const left = ([name, row]: [string, OptionRow]): string =>
    `--${name}${row.value === undefined ? '' : ` ${row.value}`}`;
  const width = Math.max(...options.map((row) => left(row).length));
  return [
    `Usage: bmuxd ${command.name} ${command.args}`.trimEnd(),
    '',
    command.about,
    '',
    ...options.map((row) => `  ${left(row).padEnd(width)}  ${row[1].about}`),
    '',
  ].join('\n');
}
