// Formats a failure for a terminal.
import type { Failure, FailureData } from '../daemon/base/failure.ts';

/** Replaces control characters, because parts of `text` may come from other machines. Line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '?');
}

/** Warnings, then what happened, its causes and the remedy, each on its own lines. `program`: prefix of the warnings. */
export function asText({ data }: Failure, program: string): string {
  const warnings = (data.warnings ?? []).map((warning) => `${program}: ${warning}\n`).join('');
  const causes = data.causes.map((cause) => `  caused by: ${cause}\n`).join('');
  return printable(`${warnings}${data.detail}\n${causes}${remedyWithCode(data)}\n`);
}

/** The remedy, and the code by which docs/errors.md lists the failure. Wrong usage has none, since its text says all. */
export function remedyWithCode({ code, remedy }: Pick<FailureData, 'code' | 'remedy'>): string {
  return code === 'usage' ? remedy : `${remedy} [${code}]`;
}
