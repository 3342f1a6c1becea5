// Finds the line of a key in a large TOML document in one pass. It knows headers and keys at the start of a line, which is how files are
// written; a key in another notation is found on the line of its table, or on line 1.
import { parse } from 'smol-toml';
import { isTable, valueAt } from './table.ts';

/** Documents of more characters than this are large. */
export const LARGE = 256 * 1024;

const HEADER = /^\s*(\[\[?)([^[\]]+)\]\]?\s*(?:#.*)?$/u;
const KEY = /^\s*((?:[A-Za-z0-9_.-]|"[^"\\]*"|'[^']*'|[ \t])+?)\s*=/u;
const MULTILINE = /"""|'''/gu;

/** Returns the 1-based line of the statement that sets `keyPath`, in a valid document. */
export function lineInLarge(text: string, keyPath: readonly string[]): number {
  /** Number of elements of each array of tables, by its path as JSON. */
  const lengths = new Map<string, number>();
  let table: readonly string[] = [];
  let tableLine = 1;
  let isInString = false;
  let number = 0;
  for (const line of lines(text)) {
    number += 1;
    const wasInString = isInString;
    if ((line.match(MULTILINE)?.length ?? 0) % 2 === 1) isInString = !isInString;
    if (wasInString) continue;
    const [, brackets, written] = HEADER.exec(line) ?? [];
    if (written !== undefined) {
      table = tableOf(pathOf(written), brackets === '[[', lengths);
      if (isWithin(keyPath, table)) return number;
      if (isWithin(table, keyPath)) tableLine = number;
      continue;
    }
    // Most lines are those of other tables.
    if (!isWithin(table, keyPath)) continue;
    const key = KEY.exec(line)?.[1];
    if (key === undefined) continue;
    const path = [...table, ...pathOf(key)];
    if (isWithin(keyPath, path)) return number;
    if (isWithin(path, keyPath) && mayHold(line, keyPath.slice(table.length))) return number;
  }
  return tableLine;
}

function* lines(text: string): Generator<string> {
  for (let start = 0; start <= text.length;) {
    const end = text.indexOf('\n', start);
    yield text.slice(start, end < 0 ? text.length : end).replace(/\r$/u, '');
    if (end < 0) return;
    start = end + 1;
  }
}

/** True when `path` begins with `start`. */
function isWithin(start: readonly string[], path: readonly string[]): boolean {
  return start.length <= path.length && start.every((part, index) => part === path[index]);
}

/** The parts of a dotted key. */
function pathOf(written: string): string[] {
  if (/^[A-Za-z0-9_.-]+$/u.test(written)) return written.split('.');
  const path: string[] = [];
  try {
    let node: unknown = parse(`${written} = 0`);
    while (isTable(node)) {
      const [key = ''] = Object.keys(node);
      path.push(key);
      node = node[key];
    }
  } catch {
    return [written];
  }
  return path;
}

/** The path of a header, with the index of the last element behind each array of tables. */
function tableOf(path: readonly string[], isElement: boolean, lengths: Map<string, number>): string[] {
  const full: string[] = [];
  for (const [index, part] of path.entries()) {
    full.push(part);
    const key = JSON.stringify(full);
    if (isElement && index === path.length - 1) lengths.set(key, (lengths.get(key) ?? 0) + 1);
    const length = lengths.get(key);
    if (length !== undefined) full.push(String(length - 1));
  }
  return full;
}

/** True when the value on this line is an inline table or an array with the key. One that goes on below may have it. */
function mayHold(line: string, path: readonly string[]): boolean {
  try {
    return valueAt(parse(line), path) !== undefined;
  } catch {
    return true;
  }
}
