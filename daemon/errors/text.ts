// Formats a failure for people: several lines for a terminal, or one line for a message field of another program.
import type { Failure, FailureData } from '../base/failure.ts';

/** Characters of what happened and of its causes in one line. Other machines may have sent them. */
const MAX_LINE_CHARACTERS = 2000;

/** Replaces control characters, because parts of `text` may come from other machines. Line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '?');
}

/** The causes that are not told yet, by what happened or by a cause before. */
export function causesToShow({ detail, causes }: Pick<FailureData, 'detail' | 'causes'>): string[] {
  const told = [detail];
  return causes.filter((cause) => {
    const text = cause.trim().replace(/\.+$/, '');
    if (told.some((before) => before.includes(text))) return false;
    told.push(cause);
    return true;
  });
}

/** Warnings, then what happened, its causes and the remedy, each on its own lines. `program`: prefix of the warnings. */
export function asText({ data }: Failure, program: string): string {
  const warnings = (data.warnings ?? []).map((warning) => `${program}: ${warning}\n`).join('');
  const causes = causesToShow(data)
    .map((cause) => `  caused by: ${cause}\n`)
    .join('');
  return printable(`${warnings}${data.detail}\n${causes}${remedyWithCode(data)}\n`);
}

/** The same in one line of bounded length. What happened is cut where it is too long; the remedy and the code are always there. */
export function asLine({ data }: Failure): string {
  const parts = [data.detail, ...causesToShow(data)].map((part) =>
    part.replace(/\s+/g, ' ').replace(/[ .]+$/, ''),
  );
  const said = parts.join('; caused by: ');
  const shown = said.length > MAX_LINE_CHARACTERS ? `${said.slice(0, MAX_LINE_CHARACTERS)}…` : `${said}.`;
  return printable(`${shown} ${remedyWithCode(data)}`);
}

/** The remedy, and the code by which docs/errors.md lists the failure. Wrong usage has none, since its text says all. */
export function remedyWithCode({ code, remedy }: Pick<FailureData, 'code' | 'remedy'>): string {
  return code === 'usage' ? remedy : `${remedy} [${code}]`;
}
