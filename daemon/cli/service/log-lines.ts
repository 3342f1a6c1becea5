// Lines of the log for people: time, level, process, what happened, and the fields.
import { printable } from '../../errors/text.ts';

/** Fields that have a column of their own. */
const COLUMNS = new Set(['time', 'level', 'process', 'msg']);

/** One line of the log, readable. What is no JSON, such as a message at a crash, is shown as it is. */
export function readableLine(line: string): string {
  const fields = fieldsOf(line);
  if (fields === undefined) return `${printable(line)}\n`;
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '');
  const rest = Object.entries(fields).flatMap(([name, value]) =>
    COLUMNS.has(name) ? [] : [`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`],
  );
  const parts = [
    text('time'),
    text('level').toUpperCase().padEnd(5),
    `[${text('process')}]`,
    text('msg'),
    ...rest,
  ];
  return `${printable(parts.join(' ')).replaceAll('\n', ' ')}\n`;
}

function fieldsOf(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
