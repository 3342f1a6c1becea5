// What may come next on a command line, from the command table and from the daemon.
import type { Command, OptionRow } from '../command.ts';
import { partsOf } from './forms.ts';
import { optionAbout, optionsOf } from './help.ts';

/** What a value of a form is completed to, by its placeholder. A placeholder that is not here cannot be completed. */
const SOURCES: Readonly<Record<string, 'targets' | 'streams' | 'commands'>> = {
  TARGET: 'targets',
  GATEWAY: 'targets',
  ID: 'streams',
  NAME: 'commands',
};

/** The options without a command. */
const GENERAL: Completion['candidates'] = [
  ['--help', 'show all commands'],
  ['--version', 'show the version'],
];
/** Placeholders of options that take the name of a file. */
const FILES: readonly (string | undefined)[] = ['PATH', 'FILE'];

export interface Completion {
  /** Each with its description, which may be empty. */
  readonly candidates: readonly (readonly [word: string, about: string])[];
  /** `files`: names of files fit, too. A number: from this word on it is another program's command line; `bmuxd` is word 0. */
  readonly instead?: 'files' | number;
}

export interface LiveNames {
  targets(): Promise<Completion['candidates']>;
  streams(): Promise<Completion['candidates']>;
}

/** `words` are those after `bmuxd`; the last one is being typed, and may be empty. */
export async function complete(
  words: readonly string[],
  commands: readonly Command[],
  known: LiveNames,
): Promise<Completion> {
  const typed = words.at(-1) ?? '';
  const names = commands.map(({ name, about }) => [name, about] as const);
  if (words.length <= 1) return beginning(typed, typed.startsWith('-') ? GENERAL : names);
  const command = commands.find(({ name }) => name === words[0]);
  if (command === undefined) return { candidates: [] };
  const before = words.slice(1, -1);
  const program = programAfter(command, before);
  if (program !== undefined) return { candidates: [], instead: program + 2 };
  if (!before.includes('--')) {
    const valued = optionBefore(command, before);
    if (valued !== undefined) return valuesOf(valued, typed);
    const [name = '', value] = typed.split(/=(.*)/s, 2);
    const assigned = value === undefined ? undefined : optionNamed(command, name);
    if (assigned?.type === 'string') {
      const { candidates } = valuesOf(assigned, value ?? '');
      return { candidates: candidates.map(([word, about]) => [`${name}=${word}`, about]) };
    }
    if (typed.startsWith('-')) {
      const options = optionsOf(command).map(([name, row]) => [`--${name}`, optionAbout(row)] as const);
      return beginning(typed, options);
    }
  }
  const args = argsIn(command, before);
  const candidates = new Map<string, string>();
  for (const form of command.forms) {
    const parts = partsOf(form);
    const fits = args.every((arg, index) => {
      const words = parts[index]?.words ?? [];
      return words.length === 0 || words.includes(arg);
    });
    const next = fits ? parts[args.length] : undefined;
    if (next === undefined) continue;
    if (next.isBehindDashes) candidates.set('--', '');
    for (const word of next.words) candidates.set(word, '');
    const source = SOURCES[next.value];
    const found = source === 'commands' ? names : source === undefined ? [] : await known[source]();
    for (const [word, about] of found) candidates.set(word, about);
  }
  return beginning(typed, [...candidates]);
}

/** The index in `before` from which on it is another program's command line: behind a `--` that has an argument before it. */
function programAfter(command: Command, before: readonly string[]): number | undefined {
  if (!command.forms.some((form) => form.includes(' -- '))) return undefined;
  const dashes = before.findIndex((word, index) => {
    return word === '--' && argsIn(command, before.slice(0, index)).length > 0;
  });
  return dashes < 0 ? undefined : dashes + 1;
}

function beginning(typed: string, all: Completion['candidates']): Completion {
  return { candidates: all.filter(([word]) => word.startsWith(typed)) };
}

function optionNamed(command: Command, word: string | undefined): OptionRow | undefined {
  return optionsOf(command).find(
    ([name, { short }]) => word === `--${name}` || (short !== undefined && word === `-${short}`),
  )?.[1];
}

/** The option whose value is being typed. */
function optionBefore(command: Command, before: readonly string[]): OptionRow | undefined {
  const row = optionNamed(command, before.at(-1));
  return row?.type === 'string' ? row : undefined;
}

function valuesOf({ values, value }: OptionRow, typed: string): Completion {
  if (values === undefined) return { candidates: [], ...(FILES.includes(value) ? { instead: 'files' } : {}) };
  return beginning(
    typed,
    values.map((one) => [one, ''] as const),
  );
}

/** The words that are no options and no values of options. */
function argsIn(command: Command, before: readonly string[]): string[] {
  const dashes = before.indexOf('--');
  const typed = dashes < 0 ? before : before.slice(0, dashes);
  const args = typed.filter(
    (word, index) => optionNamed(command, typed[index - 1])?.type !== 'string' && !word.startsWith('-'),
  );
  return dashes < 0 ? args : [...args, ...before.slice(dashes + 1)];
}
