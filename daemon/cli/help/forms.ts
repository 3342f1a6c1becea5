// Reads the forms of a command (daemon/cli/command.ts), and checks arguments against them.
import { meant } from '../../errors/nearest.ts';
import type { Command } from '../command.ts';

/** One argument of a form. */
export interface Part {
  /** The words that it may be; empty for a value. */
  readonly words: readonly string[];
  /** Placeholder of the value; empty for words. */
  readonly value: string;
  readonly isOptional: boolean;
  readonly isRepeated: boolean;
  /** True when a `--` stands right before it. */
  readonly isBehindDashes: boolean;
}

export function partsOf(form: string): Part[] {
  const written = form.split(' ').filter((text) => text !== '');
  return written.flatMap((text, index) => {
    if (text === '--') return [];
    const plain = text.replace(/[[\].]/g, '');
    const isValue = /^[A-Z]/.test(plain);
    return {
      isBehindDashes: written[index - 1] === '--',
      words: isValue ? [] : plain.split('|'),
      value: isValue ? plain : '',
      isOptional: text.startsWith('['),
      isRepeated: text.includes('...'),
    };
  });
}

/** The command's arguments in one line. */
export function argsOf({ forms }: Pick<Command, 'forms'>): string {
  const written = forms.filter((form) => form !== '').join(' | ');
  return written === '' || written.length === forms.join(' | ').length ? written : `[${written}]`;
}

/** `bmuxd streams end ID`, for each form. */
export function usagesOf({ name, forms }: Pick<Command, 'name' | 'forms'>): string[] {
  return forms.map((form) => `bmuxd ${name} ${form}`.trimEnd());
}

/** Why the arguments fit none of the forms; undefined when they fit one. */
export function misfit(
  command: Pick<Command, 'name' | 'forms'>,
  args: readonly string[],
): string | undefined {
  const all = command.forms.map(partsOf);
  const begun = all.length === 1 ? all : all.filter((parts) => isBegunBy(parts, args));
  const [parts] = begun;
  if (parts === undefined) return oneOf(command, all, args);
  for (const [index, part] of parts.entries()) {
    const arg = args[index];
    if (arg === undefined) {
      if (!part.isOptional) return `${missing(part)}: write ${quotedList(usagesOf(command))}`;
    } else if (part.words.length > 0 && !part.words.includes(arg)) return oneOf(command, all, args);
  }
  const extra = parts.at(-1)?.isRepeated === true ? undefined : args[parts.length];
  return extra === undefined ? undefined : `unexpected argument '${extra}'`;
}

/** Whether the first word of a form is the first argument; a form without arguments fits only where there are none. */
function isBegunBy([first]: readonly Part[], args: readonly string[]): boolean {
  if (first === undefined || args[0] === undefined) return first === args[0];
  return first.words.length === 0 || first.words.includes(args[0]);
}

function oneOf(
  command: Pick<Command, 'name' | 'forms'>,
  all: readonly (readonly Part[])[],
  [first = '']: readonly string[],
): string {
  const words = all.flatMap(([part]) => part?.words ?? []);
  return `write ${quotedList(usagesOf(command))}${meant(first, words)}`;
}

function missing({ words, value }: Part): string {
  return words.length > 0 ? `${quotedList(words)} is missing` : `${value} is missing`;
}

function quotedList(texts: readonly string[]): string {
  const quoted = texts.map((text) => `\`${text}\``);
  const last = quoted.pop() ?? '';
  return quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`;
}
