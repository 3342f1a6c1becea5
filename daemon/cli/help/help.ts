// The help of all commands and of one, made from the command table.
import { fail } from '../../errors/fail.ts';
import { meant } from '../../errors/nearest.ts';
import { exitStatusText } from '../../errors/exit-statuses.ts';
import type { Command, CommandContext, OptionRow } from '../command.ts';
import { roomOf } from '../table.ts';
import { columns, hanging, WIDTH, wrapped } from './columns.ts';
import { argsOf, partsOf, usagesOf } from './forms.ts';

export const ABOUT =
  'bmuxd keeps connections to bmux servers warm and hands streams to short-lived commands.';

/** Options of every command. */
const HELP_OPTION: OptionRow = { type: 'boolean', short: 'h', about: 'show this' };

/** The row of a command. Throws `usage` with the nearest names when there is none. */
export function commandNamed(commands: readonly Command[], name: string): Command {
  const found = commands.find((row) => row.name === name);
  if (found !== undefined) return found;
  const called = commands.find((row) => row.otherNames?.includes(name) === true);
  // The nearest word may be another thing: `top` is no `stop`.
  const near = meant(
    called?.name ?? name,
    called === undefined ? [...commands.map((row) => row.name), '--version', '--help'] : [called.name],
  );
  const what = name.startsWith('-') ? `option ${name}` : `command '${name}'`;
  throw fail('usage', { why: `bmuxd: there is no ${what}${near}`, command: 'bmuxd' });
}

/** `bmuxd help [NAME [WORD]]`. The word is the first one of a form, as in `bmuxd help trust add`: it has no help of its own. */
export function showHelp(
  commands: readonly Command[],
  { args, out, stdout }: Pick<CommandContext, 'args' | 'out' | 'stdout'>,
): Promise<number> {
  const [name, word] = args;
  const room = roomOf(stdout);
  const command = name === undefined ? undefined : commandNamed(commands, name);
  const words = command?.forms.flatMap((form) => partsOf(form)[0]?.words ?? []) ?? [];
  if (command !== undefined && word !== undefined && !words.includes(word)) {
    const why = `bmuxd ${command.name} has no '${word}'${meant(word, words)}`;
    throw fail('usage', { why, command: `bmuxd ${command.name}` });
  }
  out(command === undefined ? help(commands, room) : helpOf(command, room));
  return Promise.resolve(0);
}

/** Within `room` columns, and no more than 80. */
export function help(commands: readonly Command[], room = WIDTH): string {
  const width = Math.min(room, WIDTH);
  return text([
    ...wrapped(ABOUT, width),
    '',
    'Usage: bmuxd COMMAND [OPTIONS]',
    '',
    ...columns(
      commands.map((row) => [`${row.name} ${argsOf(row)}`.trimEnd(), row.about]),
      { room: width },
    ),
    '',
    ...wrapped('`bmuxd help COMMAND` shows options and examples; `bmuxd --version` the version.', width),
    ...wrapped(exitStatusText(), width),
  ]);
}

export function helpOf(command: Command, room = WIDTH): string {
  const width = Math.min(room, WIDTH);
  const { about, examples, exits } = command;
  const [first = '', ...more] = usagesOf(command);
  const statuses = Object.entries(exits ?? {}).map(([status, meaning]) => `${status} ${meaning}`);
  return text([
    ...hanging(`Usage: ${first}`, width),
    ...more.flatMap((usage) => hanging(`       ${usage}`, width)),
    '',
    ...wrapped(about, width),
    '',
    'Options:',
    ...columns(
      optionsOf(command).map(([name, row]) => [optionText(name, row), optionAbout(row)]),
      { leftMost: 28, room: width },
    ),
    ...(examples.length === 0 ? [] : ['', 'Examples:', ...columns(examples, { leftMost: 42, room: width })]),
    ...(statuses.length === 0 ? [] : ['', ...wrapped(`Exit status: ${statuses.join(', ')}.`, width)]),
  ]);
}

/** The command's options and those of every command. */
export function optionsOf({ options }: Pick<Command, 'options'>): [name: string, row: OptionRow][] {
  return [...Object.entries(options), ['help', HELP_OPTION]];
}

/** `-n, --number COUNT`. */
export function optionText(name: string, { short, value }: OptionRow): string {
  return `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
}

export function optionAbout({ about, values }: OptionRow): string {
  return values === undefined ? about : `${about}: ${values.join(', ')}`;
}

function text(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}
