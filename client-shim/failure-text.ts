// A failure as a person reads it on a terminal.
import type { Failure } from '../daemon/base/failure.ts';

/** `text` without what a terminal would take for an order: parts of it may come from elsewhere. Lines stay lines. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '?');
}

/** What the user should know besides, then what happened, why, what to do: each on lines of its own. `program`: who says it. */
export function asText({ data }: Failure, program: string): string {
  const warnings = (data.warnings ?? []).map((warning) => `${program}: ${warning}\n`).join('');
  const causes = data.causes.map((cause) => `  caused by: ${cause}\n`).join('');
  return printable(`${warnings}${data.detail}\n${causes}${data.remedy}\n`);
}
