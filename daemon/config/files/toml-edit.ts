// Changes the table `gateways` of a TOML text and leaves the rest as it is written, where that can be.
import { isDeepStrictEqual } from 'node:util';
import { stringify } from 'smol-toml';
import { parsed } from './grammar.ts';
import { isTable, tableAt, type Table } from './table.ts';

/** The document with whole numbers as bigint, so that `1.0` stays another value than `1`. Throws for a text that is no TOML. */
export function parsedExactly(text: string): Table {
  return parsed(text, true);
}

function written(table: Table): string {
  return stringify(table, { numbersAsFloat: true });
}

/** The text in which the table `gateways` is the given one: of bigints, as by `exactly`. */
export function withEntry(text: string, gateways: Table): string {
  const table = parsedExactly(text);
  const before = tableAt(table, ['gateways']);
  const wanted = { ...table, gateways };
  let edited = text;
  for (const key of new Set([...Object.keys(before), ...Object.keys(gateways)])) {
    if (isDeepStrictEqual(before[key], gateways[key])) continue;
    const entry = gateways[key];
    const section = isTable(entry) ? written({ gateways: { [key]: entry } }) : '';
    edited = withSection(edited, key, text.includes('\r\n') ? section.replaceAll('\n', '\r\n') : section);
  }
  return says(edited, wanted) ? edited : written(wanted);
}

function says(text: string, wanted: Table): boolean {
  try {
    return written(inOrder(parsedExactly(text))) === written(inOrder(wanted));
  } catch {
    return false;
  }
}

/** A text may have no table `gateways` any more, or have it elsewhere. */
function inOrder({ gateways = {}, ...others }: Table): Table {
  return { ...others, gateways };
}

/** The lines of the section of `key` become `section`, which is added at the end when there are none. */
function withSection(text: string, key: string, section: string): string {
  const lines = text.split('\n');
  const names = [JSON.stringify(key), `'${key}'`, key].map((name) => `[gateways.${name}]`);
  const begin = lines.findIndex((line) => names.includes(line.replace(/#[^"']*$/, '').replace(/\s/g, '')));
  if (begin < 0) return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${section}`;
  const next = lines.findIndex((line, at) => at > begin && line.trimStart().startsWith('['));
  let end = next < 0 ? lines.length : next;
  // What stands before the next section is about that one.
  while (end > begin + 1 && /^\s*(?:#.*)?\r?$/.test(lines[end - 1] ?? '')) end -= 1;
  const rest = lines.slice(end).join('\n');
  return [...lines.slice(0, begin).map((line) => `${line}\n`), section, rest].join('');
}
