// TOML as data that is safe to look into, and the line on which a key was set.
import { parse, TomlError } from 'smol-toml';
import { textOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { readSmallFile, type Marks } from './file.ts';
import { valueAt, type Table } from './table.ts';

/** One TOML file that was read. */
export interface Doc {
  readonly file: string;
  readonly text: string;
  readonly table: Table;
}

/** Why a text is no TOML, and where (1-based). */
export interface SyntaxProblem {
  readonly line: number;
  readonly why: string;
}

function parseText(text: string): Table {
  // Integers beyond 2^53 are valid TOML and valid for bmux, perhaps in keys that are none of our business.
  return parse(text, { integersAsBigInt: 'asNeeded' });
}

/** Number of newlines before the first byte that is not UTF-8, plus one. */
function badUtf8Line(bytes: Uint8Array): number {
  let line = 1;
  let start = 0;
  for (let i = 0; i <= bytes.length; i += 1) {
    if (i < bytes.length && bytes[i] !== 0x0a) continue;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(start, i));
    } catch {
      return line;
    }
    line += 1;
    start = i + 1;
  }
  return 1;
}

/** The parsed text, or what is wrong with it. Never throws. */
export function parseToml(bytes: Uint8Array): { text: string; table: Table } | SyntaxProblem {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return { line: badUtf8Line(bytes), why: 'not UTF-8' };
  }
  try {
    return { text, table: parseText(text) };
  } catch (error) {
    const why = textOf(error).replace(/^Invalid TOML document: /u, '');
    return { line: error instanceof TomlError ? error.line : 1, why };
  }
}

/** The file at `path`; undefined when missing. Fails with `config_syntax` or `file_unreadable`. `marks` collects what was looked at. */
export async function readToml(path: string, marks: Marks = new Map()): Promise<Doc | undefined> {
  const bytes = await readSmallFile(path, marks);
  if (bytes === undefined) return undefined;
  const parsed = parseToml(bytes);
  if ('why' in parsed) throw fail('config_syntax', { file: path, ...parsed });
  return { file: path, ...parsed };
}

/** Characters that `lineOf` may parse to find where statements end, so that a strange file costs a fraction of a second and no more. */
const STATEMENT_BUDGET = 2 * 1024 * 1024;

/** First lines (0-based) of the statements of a valid document: every statement parses on its own, half of one does not. */
function statementStarts(lines: readonly string[]): number[] {
  const starts: number[] = [];
  let left = STATEMENT_BUDGET;
  for (let first = 0; first < lines.length;) {
    starts.push(first);
    let end = first;
    for (; end < lines.length && left > 0; end += 1) {
      // Only such a line can close a value that spans lines.
      if (end > first && !/[\]}]|"""|'''/u.test(lines[end] ?? '')) continue;
      const chunk = `${lines.slice(first, end + 1).join('\n')}\n`;
      left -= chunk.length + 1;
      try {
        parseText(chunk);
        break;
      } catch {
        continue;
      }
    }
    if (left <= 0) return starts;
    first = end + 1;
  }
  return starts;
}

/**
 * The 1-based line on which the statement starts that sets `keyPath` (array elements by their index) in a valid document. Found by
 * parsing ever shorter beginnings of the text, so that every way to write a key is understood. 1 when the key is not there.
 */
export function lineOf(text: string, keyPath: readonly string[]): number {
  const lines = text.split('\n');
  const starts = statementStarts(lines);
  /** Whether the first `count` statements hold the key. */
  const holds = (count: number): boolean => {
    try {
      const prefix = `${lines.slice(0, starts[count] ?? lines.length).join('\n')}\n`;
      return valueAt(parseText(prefix), keyPath) !== undefined;
    } catch {
      return false;
    }
  };
  if (!holds(starts.length)) return 1;
  let without = 0;
  let until = starts.length;
  while (until - without > 1) {
    const middle = (without + until) >> 1;
    if (holds(middle)) until = middle;
    else without = middle;
  }
  return (starts[until - 1] ?? 0) + 1;
}
