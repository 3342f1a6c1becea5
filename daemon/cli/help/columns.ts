// Lays out texts within the columns of a terminal: help within 80.
import { displayWidth } from '../table.ts';

const WIDTH = 80;

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

/** Two columns, each row indented by two. A left text that is too long has a line of its own. */
export function columns(rows: readonly (readonly [left: string, right: string])[], leftMost = 20): string[] {
  const fitting = rows.map(([left]) => left.length).filter((length) => length <= leftMost);
  const width = Math.max(0, ...fitting);
  return rows.flatMap(([left, right]) => {
    const [first = '', ...more] = wrapped(right, WIDTH - width - 4);
    const indented = more.map((line) => `${' '.repeat(width + 4)}${line}`);
    if (left.length <= width) return [`  ${left.padEnd(width)}  ${first}`.trimEnd(), ...indented];
    return [`  ${left}`, `${' '.repeat(width + 4)}${first}`, ...indented];
  });
}
