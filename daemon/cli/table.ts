// Formats tables, times and sizes for the terminal.
import { withoutCredentials } from '../base/redact.ts';

/** Longest name or address in a table, characters. An iroh URL with its relay is about three times as long. */
const SHOWN = 40;

/**
 * `text` without credentials and control characters. The middle of a long text is left out, because URLs differ at their beginning or their
 * end.
 */
export function shortened(text: string, limit: number = SHOWN): string {
  const plain = withoutCredentials(text).replace(/\p{Cc}/gu, '?');
  const characters = Array.from(plain);
  if (characters.length <= limit) return plain;
  const head = Math.ceil((limit - 1) * 0.6);
  return `${characters.slice(0, head).join('')}…${characters.slice(characters.length - (limit - 1 - head)).join('')}`;
}

/** The first line of a text, for a table. */
export function firstLine(text: string): string {
  return shortened(text.split('\n', 1)[0] ?? '', 100);
}

/** Left-aligned columns, two spaces apart, a header first. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** The time since `atMs` in one unit: `12 s`, `3 min`, `5 h`, `2 d`. */
export function ago(atMs: number, nowMs: number = Date.now()): string {
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1000));
  if (seconds < 120) return `${String(seconds)} s`;
  if (seconds < 7200) return `${String(Math.round(seconds / 60))} min`;
  if (seconds < 172_800) return `${String(Math.round(seconds / 3600))} h`;
  return `${String(Math.round(seconds / 86_400))} d`;
}

/** A number of bytes in one unit: `512 B`, `3.4 MB`. */
export function bytes(count: number): string {
  if (count < 1000) return `${String(count)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = count / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit] ?? ''}`;
}
