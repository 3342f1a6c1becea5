// `GET /v1/config`: the settings and the config of one context in force, each value with its origin, and without credentials.
import { SCHEMA } from '../../api/answers.ts';
import type { ConfigReport, ConfigRow } from '../../api/config/report.ts';
import { withoutCredentials } from '../../base/redact.ts';
import type { Contexts } from '../contexts/contexts.ts';
import type { SettingsInForce } from '../instance/settings-in-force.ts';

type View = Awaited<ReturnType<Contexts['view']>>;

export function configReport(
  settings: Pick<SettingsInForce, 'path' | 'values' | 'problem'>,
  { paths, slot, files, values, warnings }: Pick<View, 'paths' | 'slot' | 'files' | 'values' | 'warnings'>,
): ConfigReport {
  const { problem } = settings;
  return {
    schema: SCHEMA,
    settings: {
      file: settings.path,
      values: settings.values().map(shown),
      ...(problem === undefined ? {} : { problem: problem.data }),
    },
    context: {
      runtimeDir: paths.runtimeDir,
      ...(slot === undefined ? {} : { slot }),
      files,
      values: values().map(shown),
      warnings: warnings.map(withoutCredentials),
    },
  };
}

/** The names of share links and targets may be URLs too. */
function shown({ key, value, origin }: ConfigRow): ConfigRow {
  return { key: withoutCredentials(key), value: plain(value), origin };
}

function plain(value: unknown): unknown {
  if (typeof value === 'string') return withoutCredentials(value);
  if (Array.isArray(value)) return value.map(plain);
  return value;
}
