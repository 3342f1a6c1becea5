// A failure as a person reads it on a terminal.
import type { Failure } from '../base/failure.ts';
import { printable } from './table.ts';

/** What happened, why, what to do: each on lines of its own. */
export function asText({ data }: Failure): string {
  const causes = data.causes.map((cause) => `  caused by: ${cause}\n`).join('');
  const warnings = (data.warnings ?? []).map((warning) => `bmuxd: ${warning}\n`).join('');
  return printable(`${warnings}${data.detail}\n${causes}${data.remedy}\n`);
}
