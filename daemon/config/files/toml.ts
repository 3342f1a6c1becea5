// Parses TOML into data that is safe to access, and finds the line on which a key was set.
import { TomlError } from 'smol-toml';
import { textOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { readSmallFile, type Marks, type ReadFile } from './file.ts';
import { CONFIG_INTEGERS, oddityIn, parsed, type Integers } from './grammar.ts';
import { LARGE, lineInLarge } from './large-file.ts';
import { valueAt, type Table } from './table.ts';

/** One TOML file after parsing. */
export interface Doc {
  readonly file: string;
  readonly text: string;
  readonly table: Table;
}

/** Why a text is not valid TOML, and where (1-based). */
export interface SyntaxProblem {
  readonly line: number;
  readonly why: string;
}

function parseText(text: string): Table {
  // Integers beyond 2^53 are valid in TOML and in bmux, and may be values of keys that are not used here.
  return parsed(text, 'asNeeded');
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

/** The parsed text, or its error. Never throws. */
export function parseToml(
  bytes: Uint8Array,
  integers: Integers = CONFIG_INTEGERS,
): { text: string; table: Table } | SyntaxProblem {
  let text: string;
  try {
    // smol-toml skips a byte order mark. A second one is an error, as in bmux.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { line: badUtf8Line(bytes), why: 'not UTF-8' };
  }
  try {
    const table = parseText(text);
    const odd = oddityIn(text, table, integers);
    if (odd === undefined) return { text, table };
    return { line: 'line' in odd ? odd.line : lineOf(text, odd.path), why: odd.why };
  } catch (error) {
    const why = textOf(error).replace(/^Invalid TOML document: /u, '');
    // What is not closed is found at the end, behind empty lines.
    const last = text.trimEnd().split('\n').length;
    return { line: error instanceof TomlError ? Math.min(error.line, last) : 1, why };
  }
}

/** Reads the file at `path`; undefined when missing. Fails with `config_syntax` or `file_unreadable`. `marks` collects the marks of checked files. */
export async function readToml(
  path: string,
  marks: Marks = new Map(),
  read: ReadFile = readSmallFile,
  integers: Integers = CONFIG_INTEGERS,
): Promise<Doc | undefined> {
  const bytes = await read(path, marks);
  if (bytes === undefined) return undefined;
  const found = parseToml(bytes, integers);
  if ('why' in found) throw fail('config_syntax', { file: path, ...found });
  return { file: path, ...found };
}

/** Most characters that `lineOf` parses to find the ends of statements. It bounds the time for an unusual file to a fraction of a second. */
const STATEMENT_BUDGET = 2 * 1024 * 1024;

/** First lines (0-based) of the statements of a valid document. A whole statement parses on its own, and a part of one does not. */
function statementStarts(lines: readonly string[]): number[] {
  const starts: number[] = [];
  let left = STATEMENT_BUDGET;
  for (let first = 0; first < lines.length;) {
    starts.push(first);
    let end = first;
    for (; end < lines.length && left > 0; end += 1) {
      // Only a line with one of these can close a value that spans lines.
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

/** The statements of a valid document, each parsed alone. They end early where the document is too large for that. */
export function* statements(
  text: string,
): Generator<{ readonly line: number; readonly text: string; readonly table: Table }> {
  const lines = text.split('\n');
  const starts = statementStarts(lines);
  for (const [index, start] of starts.entries()) {
    const statement = `${lines.slice(start, starts[index + 1] ?? lines.length).join('\n')}\n`;
    try {
      yield { line: start + 1, text: statement, table: parseText(statement) };
    } catch {
      return;
    }
  }
}

/**
 * Returns the 1-based line on which the statement that sets `keyPath` starts, in a valid document. Array elements are keys by their index. It
 * parses prefixes of the text, so that every notation of a key is found. 1 when the key is not there. In a large file it looks at line starts.
 */
export function lineOf(text: string, keyPath: readonly string[]): number {
  if (text.length > LARGE) return lineInLarge(text, keyPath);
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
