// Formats tables, times and sizes for the terminal.
import { withoutCredentials } from '../base/redact.ts';

/** Longest name or address in a table, columns. An iroh URL with its relay is about three times as long. */
const SHOWN = 40;
/** A text that is cut keeps this many columns, where a column may be left out for it. */
const NARROWEST = 8;
/** No column is narrower. */
const LEAST = 3;
const BETWEEN = '  ';
/** Width of a terminal that does not say it; one without a size says 0. */
const USUAL_COLUMNS = 80;

/**
 * The heading of a column. `drops`: the order in which columns are left out on a narrow terminal, 1 first; missing for one that stays.
 * `late`: only where even texts that are cut do not fit. A heading is not cut to keep such a column.
 */
export type Column = string | { readonly name: string; readonly drops: number; readonly late?: true };

/** How wide a table may be: the width of the terminal, and no limit elsewhere, since a program may read it. */
export function roomOf({
  isTTY,
  columns = 0,
}: {
  readonly isTTY?: boolean;
  readonly columns?: number;
}): number {
  if (isTTY !== true) return Infinity;
  return columns > 1 ? columns : USUAL_COLUMNS;
}

const ZERO = /^[\p{Mn}\p{Me}\p{Cf}\u{1160}-\u{11ff}]$/u;
const WIDE =
  /^[\u{1100}-\u{115f}\u{2e80}-\u{303e}\u{3041}-\u{a4cf}\u{ac00}-\u{d7a3}\u{f900}-\u{faff}\u{fe30}-\u{fe6f}\u{ff00}-\u{ff60}\u{ffe0}-\u{ffe6}\u{20000}-\u{3fffd}\p{Emoji_Presentation}]$/u;

/** Each character is one column wide. Most texts are such, and the patterns above take long to compile. */
const PLAIN = /^[ -~]*$/;

/** Columns that a terminal uses for `text`. */
export function displayWidth(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += ZERO.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** As many characters from the beginning of `characters` as fit into `width` columns. */
function fitting(characters: readonly string[], width: number): string[] {
  let used = 0;
  const end = characters.findIndex((character) => (used += displayWidth(character)) > width);
  return end < 0 ? [...characters] : characters.slice(0, end);
}

/**
 * `text` without credentials and control characters. The middle of a long text is left out, because URLs differ at their beginning or their
 * end.
 */
export function shortened(text: string, limit: number = SHOWN): string {
  const known = withoutCredentials(text);
  const plain = PLAIN.test(known) ? known : known.replace(/\p{Cc}/gu, '?');
  if (displayWidth(plain) <= limit) return plain;
  const characters = Array.from(plain);
  const head = Math.ceil((limit - 1) * 0.6);
  const tail = fitting(characters.toReversed(), limit - 1 - head).toReversed();
  return `${fitting(characters, head).join('')}…${tail.join('')}`;
}

/** The first line of a text, for a table. */
export function firstLine(text: string): string {
  return shortened(text.split('\n', 1)[0] ?? '', 100);
}

/**
 * Left-aligned columns, two spaces apart, a header first. Where `room` is too small, columns that may be dropped are left out, and then the
 * longest texts are cut.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  room = Infinity,
): string[] {
  const header = columns.map((column) => (typeof column === 'string' ? column : column.name));
  const all = [header, ...rows];
  const widths = header.map((_, index) => Math.max(...all.map((row) => displayWidth(row[index] ?? ''))));
  const shown = shownColumns(columns, header, widths, room);
  const caps = new Map(shown.map((index) => [index, widths[index] ?? 0]));
  for (let over = total([...caps.values()]) - room; over > 0; over -= 1) {
    const [widest, width] = [...caps].reduce((left, right) => (right[1] > left[1] ? right : left));
    if (width <= LEAST) break;
    caps.set(widest, width - 1);
  }
  return all.map((row) =>
    [...caps]
      .map(([index, cap]) => padded(cut(row[index] ?? '', cap), cap))
      .join(BETWEEN)
      .trimEnd(),
  );
}

/** Indexes of the columns that fit, or that may not be dropped. */
function shownColumns(
  columns: readonly Column[],
  header: readonly string[],
  widths: readonly number[],
  room: number,
): number[] {
  let shown = columns.map((_, index) => index);
  const droppable = columns
    .flatMap((column, index) => (typeof column === 'string' ? [] : [{ ...column, index }]))
    .sort((a, b) => a.drops - b.drops);
  for (const { index: dropped, late } of droppable) {
    const least = (index: number): number => {
      const width = widths[index] ?? 0;
      return late === true ? Math.min(width, Math.max(NARROWEST, displayWidth(header[index] ?? ''))) : width;
    };
    if (total(shown.map(least)) <= room) continue;
    shown = shown.filter((index) => index !== dropped);
  }
  return shown;
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width, 0) + BETWEEN.length * Math.max(0, widths.length - 1);
}

/** `text` in at most `width` columns. */
export function cut(text: string, width: number): string {
  return displayWidth(text) <= width ? text : `${fitting(Array.from(text), width - 1).join('')}…`;
}

function padded(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
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
