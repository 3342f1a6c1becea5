// Reads bmuxd.toml by the table in daemon/config/settings/table.ts. A wrong key is reported as a problem and never stops the daemon.
import { asFailure, fail } from '../../errors/fail.ts';
import type { Failure } from '../../base/failure.ts';
import { meant } from '../../errors/nearest.ts';
import {
  accepts,
  defaultSettings,
  SETTINGS,
  settingsFrom,
  takenBy,
  TARGET_SETTINGS,
  type SettingRow,
  type Settings,
  type TargetSettings,
} from './table.ts';
import { readSmallFile, type ReadFile } from '../files/file.ts';
import { dotted, isTable, shown, type Table } from '../files/table.ts';
import { lineOf, parseToml, type Doc } from '../files/toml.ts';

export interface LoadedSettings {
  /** Complete: keys that are missing or invalid have their default. */
  readonly settings: Settings;
  /** The file with these settings; missing when there is none, or when it is no TOML. */
  readonly doc?: Doc;
  /** The problem of the file, if any: `settings_invalid` or `file_unreadable`. */
  readonly problem?: Failure;
}

const ROWS: readonly SettingRow[] = SETTINGS;
const TARGET_ROWS: readonly SettingRow[] = TARGET_SETTINGS;

/** Reports a mistake: its key path, and the reason for people. */
type Complain = (path: readonly string[], why: string) => void;

function readRows(
  table: Table,
  under: readonly string[],
  rows: readonly SettingRow[],
  complain: Complain,
): Map<string, unknown> {
  const found = new Map<string, unknown>();
  const visit = (node: Table, path: readonly string[]): void => {
    for (const [key, value] of Object.entries(node)) {
      const name = [...path, key].join('.');
      const full = [...under, ...path, key];
      const row = rows.find((candidate) => candidate.name === name);
      if (row !== undefined) {
        if (accepts(row, value)) found.set(name, value);
        else complain(full, `${shown(value)} is not ${takenBy(row)}`);
      } else if (rows.some((candidate) => candidate.name.startsWith(`${name}.`))) {
        if (isTable(value)) visit(value, [...path, key]);
        else complain(full, `${shown(value)} is not a table`);
      } else {
        // Only full names of settings can be compared, so the first key of an unknown table is added to its name.
        const inner = isTable(value) ? Object.keys(value)[0] : undefined;
        const names = rows.map((candidate) => candidate.name);
        complain(full, `no such setting${meant(inner === undefined ? name : `${name}.${inner}`, names)}`);
      }
    }
  };
  visit(table, []);
  return found;
}

function readTargets(value: unknown, complain: Complain): Settings['targets'] {
  const targets = Object.create(null) as Record<string, TargetSettings>;
  if (value === undefined) return targets;
  if (!isTable(value)) {
    complain(['targets'], `${shown(value)} is not a table`);
    return targets;
  }
  for (const [name, table] of Object.entries(value)) {
    if (isTable(table)) {
      targets[name] = Object.fromEntries(
        readRows(table, ['targets', name], TARGET_ROWS, complain),
      ) as TargetSettings;
    } else complain(['targets', name], `${shown(table)} is not a table`);
  }
  return targets;
}

interface Mistake {
  readonly line: number;
  readonly key: string;
  readonly why: string;
}

/** Maximum number of mistakes in one report; after their correction the next report shows the rest. */
const MAX_MISTAKES = 8;

/** Formats all mistakes as one text, ordered by line. */
function problemOf(file: string, mistakes: readonly Mistake[]): Failure | undefined {
  const [first, ...others] = [...mistakes].sort((a, b) => a.line - b.line);
  if (first === undefined) return undefined;
  const also = others.map(({ line, key, why }) => `; line ${String(line)}: ${key}: ${why}`);
  return fail('settings_invalid', { file, ...first, why: first.why + also.join('') });
}

/** Parses the settings in the bytes of a file. Never throws. */
export function parseSettings(file: string, bytes: Uint8Array): LoadedSettings {
  const parsed = parseToml(bytes, 'any');
  if ('why' in parsed) {
    const problem = fail('settings_invalid', { file, line: parsed.line, key: 'not TOML', why: parsed.why });
    return { settings: defaultSettings(), problem };
  }
  const mistakes: Mistake[] = [];
  const complain: Complain = (path, why) => {
    if (mistakes.length < MAX_MISTAKES)
      mistakes.push({ line: lineOf(parsed.text, path), key: dotted(path), why });
  };
  const doc: Doc = { file, ...parsed };
  const { targets: rawTargets, ...rest } = parsed.table;
  const values = new Map<string, unknown>(ROWS.map((row) => [row.name, row.default]));
  for (const [name, value] of readRows(rest, [], ROWS, complain)) values.set(name, value);
  const settings = settingsFrom(values, readTargets(rawTargets, complain));
  const problem = problemOf(file, mistakes);
  return problem === undefined ? { settings, doc } : { settings, doc, problem };
}

/** Reads the settings in `path`; all defaults when there is no such file. Never fails. */
export async function loadSettings(path: string, read: ReadFile = readSmallFile): Promise<LoadedSettings> {
  try {
    const bytes = await read(path, new Map());
    return bytes === undefined ? { settings: defaultSettings() } : parseSettings(path, bytes);
  } catch (error) {
    return { settings: defaultSettings(), problem: asFailure(error) };
  }
}
