// TOML as bmux's parser reads it, where smol-toml reads more, or less.
import { parse, TomlError } from 'smol-toml';
import type { Table } from './table.ts';

/** Arrays and inline tables within each other. */
const DEPTH_MAX = 80;
/** Leap seconds of a document that are read. */
const LEAPS_MAX = 16;

/** Which whole numbers a document may have: least, and first that is too large. 'any': who reads the values looks at them. */
export type Integers = readonly [bigint, bigint] | 'any';
export const CONFIG_INTEGERS: Integers = [-(2n ** 63n), 2n ** 63n];
export const STORE_INTEGERS: Integers = [-(2n ** 127n), 2n ** 128n];

/** What bmux refuses in a document that smol-toml accepts: a line (1-based), or the path of a value. */
export type Oddity = { readonly why: string } & ({ readonly line: number } | { readonly path: string[] });

/** The parsed text. A leap second, which smol-toml refuses, is read as the second before. Throws TomlError. */
export function parsed(text: string, integersAsBigInt: true | 'asNeeded'): Table {
  let readable = text;
  for (let left = LEAPS_MAX; ; left -= 1) {
    try {
      return parse(readable, { integersAsBigInt, maxDepth: DEPTH_MAX });
    } catch (error) {
      const without = error instanceof TomlError && left > 0 ? withoutLeap(readable, error) : readable;
      if (without === readable) throw error;
      readable = without;
    }
  }
}

function withoutLeap(text: string, { line, column }: TomlError): string {
  let start = 0;
  for (let before = 1; before < line; before += 1) start = text.indexOf('\n', start) + 1;
  const at = start + column - 1;
  return text.slice(0, at) + text.slice(at).replace(/^((?:\d{4}-\d\d-\d\d[Tt ])?\d\d:\d\d):60/u, '$1:59');
}

/** The first thing in a parsed document that bmux refuses. */
export function oddityIn(text: string, table: Table, integers: Integers): Oddity | undefined {
  const found = { mayRoll: false };
  const path = largeIn(table, integers, found);
  if (path !== undefined) return { path: path.reverse(), why: 'the number is too large' };
  // smol-toml makes March 2 of February 30, and infinity of 1e400.
  if (!found.mayRoll) return undefined;
  const rolled = text.replace(
    /(?<!\d)(\d{4})-(\d\d)-(29|30|31)(?!\d)|(?<![\w.])[+-]?\d[\d_]*(?:\.[\d_]+)?(?:[eE][+-]?[\d_]+)?/gu,
    (all, year?: string, month?: string, day?: string) => {
      const isRight =
        day === undefined
          ? Number.isFinite(Number(all.replaceAll('_', '')))
          : Number(day) <= new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
      return isRight ? all : '_'.repeat(all.length);
    },
  );
  if (rolled === text) return undefined;
  try {
    // What stands in a text, a comment or a key may be replaced, a value not.
    parsed(rolled, 'asNeeded');
    return undefined;
  } catch (error) {
    return error instanceof TomlError
      ? { line: error.line, why: 'there is no such date, or no such number' }
      : undefined;
  }
}

/** The path of an integer out of the range, its last key first: a large document has 100,000 values. */
function largeIn(value: object, integers: Integers, found: { mayRoll: boolean }): string[] | undefined {
  for (const key in value) {
    const inner: unknown = Reflect.get(value, key);
    switch (typeof inner) {
      case 'bigint':
        if (integers !== 'any' && (inner < integers[0] || inner >= integers[1])) return [key];
        break;
      case 'number':
        if (inner === Infinity || inner === -Infinity) found.mayRoll = true;
        break;
      case 'object': {
        if (inner instanceof Date) found.mayRoll = true;
        const path = inner === null ? undefined : largeIn(inner, integers, found);
        if (path !== undefined) return [...path, key];
        break;
      }
      default:
    }
  }
  return undefined;
}
