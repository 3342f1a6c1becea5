// Lines of the log for people: time, level, process, what happened, and the fields.
import { printable } from '../../errors/text.ts';

/** Fields that have a column of their own. */
const COLUMNS = new Set(['time', 'level', 'process', 'msg']);

/** Escape sequences (ECMA-48) of the levels that are not usual. */
const COLORS: Readonly<Record<string, string>> = {
  WARN: '\u001b[33m',
  ERROR: '\u001b[31m',
  FATAL: '\u001b[31m',
  DEBUG: '\u001b[2m',
  TRACE: '\u001b[2m',
};
const PLAIN = '\u001b[0m';

/** One line of the log, readable. What is no JSON, such as a message at a crash, is shown as it is. `isColored`: its level is. */
export function readableLine(line: string, isColored: boolean): string {
  const fields = fieldsOf(line);
  if (fields === undefined) return `${printable(line)}\n`;
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  const rest = Object.entries(fields).flatMap(([name, value]) =>
    COLUMNS.has(name) ? [] : [`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`],
  );
  const shown = (parts: readonly string[]): string => printable(parts.join(' ')).replaceAll('\n', ' ');
  const level = text('level').toUpperCase();
  const color = isColored ? COLORS[level] : undefined;
  const levelShown = shown([level.padEnd(5)]);
  return `${shown([text('time')])} ${color === undefined ? levelShown : `${color}${levelShown}${PLAIN}`} ${shown(
    [`[${text('process')}]`, text('msg'), ...rest],
  )}\n`;
}

function fieldsOf(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
