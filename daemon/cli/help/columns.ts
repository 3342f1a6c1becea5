// Lays out texts within the columns of a terminal: help within 80.
import { displayWidth } from '../table.ts';

/** Columns of a help; a narrower terminal has less. */
export const WIDTH = 80;

/** Breaks a text into lines of at most `width` columns. A longer word, as a path that may be copied, has a line of its own. */
export function wrapped(text: string, width: number = WIDTH): string[] {
  if (displayWidth(text) <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line === '' || displayWidth(line) + 1 + displayWidth(word) <= width)
      line += line === '' ? word : ` ${word}`;
    else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line];
}

/** A line that is broken like `wrapped`. What follows is indented by two more than its beginning; of a line with a mark, `! `, as its text. */
export function hanging(line: string, room: number): string[] {
  if (displayWidth(line) <= room) return [line];
  const [begin = ''] = /^ *(?:! )?/.exec(line) ?? [];
  const indent = ' '.repeat(begin.endsWith('! ') ? begin.length : begin.length + 2);
  const [first = '', ...more] = wrapped(line.slice(begin.length), Math.max(1, room - indent.length));
  return [`${begin}${first}`, ...more.map((text) => `${indent}${text}`)].map((text) => text.trimEnd());
}

/** Room for the right column, at least. */
const RIGHT = 38;

/** Two columns, each row indented by two. A left text that is too long has a line of its own. */
export function columns(
  rows: readonly (readonly [left: string, right: string])[],
  { leftMost = 20, room = WIDTH }: { readonly leftMost?: number; readonly room?: number } = {},
): string[] {
  const most = Math.min(leftMost, room - RIGHT);
  const fitting = rows.map(([left]) => left.length).filter((length) => length <= most);
  const width = Math.max(0, ...fitting);
  return rows.flatMap(([left, right]) => {
    const [first = '', ...more] = wrapped(right, Math.max(1, room - width - 4));
    const indented = more.map((line) => `${' '.repeat(width + 4)}${line}`);
    if (left.length <= width) return [`  ${left.padEnd(width)}  ${first}`.trimEnd(), ...indented];
    return [`  ${left}`, `${' '.repeat(width + 4)}${first}`, ...indented];
  });
}
