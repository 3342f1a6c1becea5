// Where the values of a TOML document are set: the line of every key, found in one pass over the text.
import { isTable, valueAt, type Table } from './table.ts';
import { statements, type Doc } from './toml.ts';

/** A value in force: `origin` is `FILE:LINE`, or says in a word what it comes from. */
export interface ConfigValue {
  /** Dotted key. */
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
}

/** A value that a file sets. */
export interface SetValue {
  readonly value: unknown;
  /** 1-based line on which its statement begins. */
  readonly line: number;
}

/** By document: its values by key path (`keyOfPath`). */
const known = new WeakMap<Doc, ReadonlyMap<string, SetValue>>();

/** The origin of a value that no file sets. */
export const DEFAULT = 'default';

export function keyOfPath(path: readonly string[]): string {
  return JSON.stringify(path);
}

/** All values and tables of a valid document by key path. The elements of an array of tables are left out. */
export function valuesOf(doc: Doc): ReadonlyMap<string, SetValue> {
  const values = known.get(doc) ?? read(doc.text);
  known.set(doc, values);
  return values;
}

function read(text: string): ReadonlyMap<string, SetValue> {
  const found = new Map<string, SetValue>();
  let under: readonly string[] | undefined = [];
  for (const { line, text: statement, table } of statements(text)) {
    const isHeader = /^\s*\[/u.test(statement);
    if (isHeader) under = headerOf(table);
    if (under === undefined) continue;
    if (isHeader) found.set(keyOfPath(under), { value: {}, line });
    else collect(table, under, line, found);
  }
  return found;
}

/** The path of a table header; undefined for that of an array of tables. */
function headerOf(table: Table): readonly string[] | undefined {
  const path: string[] = [];
  for (let at: unknown = table; isTable(at);) {
    const [key] = Object.keys(at);
    if (key === undefined) break;
    path.push(key);
    at = valueAt(at, [key]);
    if (Array.isArray(at)) return undefined;
  }
  return path;
}

function collect(table: Table, under: readonly string[], line: number, found: Map<string, SetValue>): void {
  for (const [key, value] of Object.entries(table)) {
    const path = [...under, key];
    found.set(keyOfPath(path), { value, line });
    if (isTable(value)) collect(value, path, line, found);
  }
}
