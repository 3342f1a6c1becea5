// The settings in force with the origin of each.
import { isDeepStrictEqual } from 'node:util';
import { DEFAULT, keyOfPath, valuesOf, type ConfigValue } from '../files/origins.ts';
import { dotted } from '../files/table.ts';
import type { LoadedSettings } from './load.ts';

/** All settings in the order of their table, then those of targets. */
export function settingsValues({ settings, doc }: LoadedSettings): ConfigValue[] {
  const { targets, ...own } = settings;
  const found = doc === undefined ? undefined : valuesOf(doc);
  const row = (path: readonly string[], key: string, value: unknown): ConfigValue => {
    const set = found?.get(keyOfPath(path));
    // A value that the file has, but that is not taken, is not in force.
    const isSet = set !== undefined && isDeepStrictEqual(set.value, value);
    return { key, value, origin: isSet ? `${doc?.file ?? ''}:${String(set.line)}` : DEFAULT };
  };
  return [
    ...Object.entries(own).map(([name, value]) => row(name.split('.'), name, value)),
    ...Object.entries(targets).flatMap(([target, values]) =>
      Object.entries(values).map(([name, value]) => {
        const path = ['targets', target, name];
        return row(path, dotted(path), value);
      }),
    ),
  ];
}
