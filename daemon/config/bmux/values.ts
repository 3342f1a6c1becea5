// The values of bmux's config that the broker uses, with the file and line that sets each.
import { keyOfPath, valuesOf, type ConfigValue } from '../files/origins.ts';
import { dotted, isTable, valueAt } from '../files/table.ts';
import { tableOf, type Applied } from './composition.ts';
import { BmuxSchema } from './schema.ts';

/** Values of one config that are listed; further ones are left out. */
const MAX_VALUES = 2000;

/** Every value in force that a file sets, in the order of the schema. `root`: the composed config. */
export function valuesIn(root: unknown, applied: readonly Applied[]): ConfigValue[] {
  const values: ConfigValue[] = [];
  for (const { path, value } of leaves(root, BmuxSchema, [])) {
    if (values.length >= MAX_VALUES) break;
    const setBy = applied.findLast((piece) => valueAt(tableOf(piece), path) !== undefined);
    if (setBy === undefined) continue;
    const line = valuesOf(setBy.doc).get(keyOfPath([...setBy.under, ...path]))?.line ?? 1;
    values.push({ key: dotted(path), value, origin: `${setBy.doc.file}:${String(line)}` });
  }
  return values;
}

/** The values of the keys that the schema names. */
function* leaves(
  value: unknown,
  schema: unknown,
  path: readonly string[],
): Generator<{ readonly path: readonly string[]; readonly value: unknown }> {
  const properties = valueAt(schema, ['properties']);
  const any = valueAt(schema, ['patternProperties']);
  if (isTable(value) && (isTable(properties) || isTable(any))) {
    const ofAll = isTable(any) ? Object.values(any)[0] : undefined;
    for (const [key, inner] of Object.entries(value)) {
      const own = valueAt(properties, [key]) ?? ofAll;
      if (own !== undefined) yield* leaves(inner, own, [...path, key]);
    }
  } else if (value !== undefined) yield { path, value };
}
