// Finds misspelt keys of bmux's config, which bmux ignores, and settings of targets that no config has.
import { BmuxSchema } from '../../config/bmux/schema.ts';
import { readSmallFile } from '../../config/files/file.ts';
import { dotted, isTable, tableAt, valueAt, type Table } from '../../config/files/table.ts';
import { lineOf, parseToml } from '../../config/files/toml.ts';
import type { LoadedSettings } from '../../config/settings/load.ts';
import { unknownTargets } from '../../control/planning/unknown-target.ts';
import { fail } from '../../errors/fail.ts';
import { meant } from '../../errors/nearest.ts';
import { finding, type ReportRow, type Examined } from './row.ts';

/** Findings that are shown at most; after their correction the next report shows the rest. */
const MAX_FOUND = 8;

/**
 * Keys of the config files that are similar to a key that the broker uses, and are none. Other unknown keys may be those of another bmux, or of
 * parts that the broker does not use.
 */
export async function misspeltKeys(files: readonly string[]): Promise<ReportRow[]> {
  const rows: ReportRow[] = [];
  for (const file of files) {
    const bytes = await readSmallFile(file, new Map()).catch(() => undefined);
    const parsed = bytes === undefined ? undefined : parseToml(bytes);
    if (parsed === undefined || 'why' in parsed) continue;
    const { text, table } = parsed;
    const patches = Object.keys(tableAt(table, PROFILES)).map((name) => [...PROFILES, name, 'patch']);
    for (const under of [[], ...patches])
      for (const { path, names } of unknownKeys(tableAt(table, under), BmuxSchema, [])) {
        const suggestion = meant(path.at(-1) ?? '', names);
        const full = [...under, ...path];
        const where = { file, line: lineOf(text, full), key: dotted(full) };
        if (suggestion !== '')
          rows.push(finding('config', 'key', fail('config_key_unknown', { ...where, suggestion })));
        if (rows.length === MAX_FOUND) return rows;
      }
  }
  return rows;
}

/** `[targets.NAME]` of bmuxd.toml for names that lead nowhere. */
export async function settingsOfNobody(
  { settings, doc }: LoadedSettings,
  { env, cwd }: Examined,
): Promise<ReportRow[]> {
  if (doc === undefined) return [];
  const unknown = await unknownTargets(Object.keys(settings.targets), { env, cwd }, MAX_FOUND);
  return [...unknown].map(([name, { detail: why }]) => {
    const key = ['targets', name];
    const where = { file: doc.file, line: lineOf(doc.text, key), key: dotted(key) };
    return finding('settings', 'target', fail('settings_invalid', { ...where, why }));
  });
}

const PROFILES = ['composition', 'profiles'];

/** The keys that a schema does not name, with those that it names there. Only tables whose keys it names are looked at. */
function* unknownKeys(
  table: Table,
  schema: unknown,
  under: readonly string[],
): Generator<{ readonly path: readonly string[]; readonly names: readonly string[] }> {
  const properties = valueAt(schema, ['properties']);
  const patterns = valueAt(schema, ['patternProperties']);
  const ofAll = isTable(patterns) ? Object.values(patterns)[0] : undefined;
  for (const [key, value] of Object.entries(table)) {
    const path = [...under, key];
    const own = valueAt(properties, [key]) ?? ofAll;
    if (own === undefined && isTable(properties)) yield { path, names: Object.keys(properties) };
    else if (isTable(value) && own !== undefined) yield* unknownKeys(value, own, path);
  }
}
