// bmuxd's own settings as data. The loader, the documentation and the types are derived from these two tables.

/** The values that a setting takes. */
export type SettingKind =
  | { readonly kind: 'choice'; readonly values: readonly [string, ...string[]] }
  | { readonly kind: 'integer' | 'number'; readonly min: number; readonly max: number }
  /** One of the words, or a whole number. */
  | {
      readonly kind: 'count';
      readonly values: readonly [string, ...string[]];
      readonly min: number;
      readonly max: number;
    }
  /** One of the words, or true or false. */
  | { readonly kind: 'switch'; readonly values: readonly [string, ...string[]] }
  /** One of the words, or a list of http(s) URLs. */
  | { readonly kind: 'relays'; readonly values: readonly [string, ...string[]]; readonly maxItems: number };

export interface SettingRow {
  /** Dotted key in bmuxd.toml. In `TARGET_SETTINGS`: below `targets.NAME`. */
  readonly name: string;
  readonly takes: SettingKind;
  /** `s`, `ms`, `bytes`, or nothing. */
  readonly unit?: 's' | 'ms' | 'bytes';
  readonly default: string | number | boolean;
  /** One sentence or two for the documentation. */
  readonly doc: string;
}

/** Where the daemon's settings are set: `bmuxd.toml`, whole-file settings. */
export const SETTINGS = [
  {
    name: 'log.level',
    takes: { kind: 'choice', values: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] },
    default: 'info',
    doc: 'The least severe lines that are logged.',
  },
  {
    name: 'engine.drain_grace',
    takes: { kind: 'number', min: 0, max: 3600 },
    unit: 's',
    default: 5,
    doc: 'How long an engine whose control process is gone, and that has no stream left, waits for a new one before it leaves.',
  },
  {
    name: 'iroh.relays',
    takes: { kind: 'relays', values: ['default', 'disabled'], maxItems: 32 },
    default: 'default',
    doc: 'Which relay servers the iroh endpoint may use: "default" for those that the library knows, "disabled" for none (a target that is reached through a relay is then out of reach), or a list of URLs.',
  },
  {
    name: 'streams.max_waiting',
    takes: { kind: 'integer', min: 1, max: 65_536 },
    default: 256,
    doc: 'Requests for streams that may have no answer yet. Further ones are refused at once.',
  },
  {
    name: 'streams.client_buffer_limit',
    takes: { kind: 'integer', min: 65_536, max: 1_073_741_824 },
    unit: 'bytes',
    default: 4_194_304,
    doc: 'How much the engine buffers for a client that does not read. A server ends a stream that it cannot write to for 5 s, so the engine reads on until this much is buffered.',
  },
  {
    name: 'contexts.max',
    takes: { kind: 'integer', min: 1, max: 1024 },
    default: 32,
    doc: 'How many environments (runtime dirs, configs, slots) are served at once. The one that was not used for longest is forgotten first.',
  },
  {
    name: 'control_plane.timeout',
    takes: { kind: 'integer', min: 1, max: 600_000 },
    unit: 'ms',
    default: 5000,
    doc: 'How long a lookup of a share link at the control plane may take.',
  },
  {
    name: 'engine.orphan_grace',
    takes: { kind: 'number', min: 0, max: 86_400 },
    unit: 's',
    default: 300,
    doc: 'How long an engine whose control process is gone goes on accepting on the target sockets, unless a new control process takes them over before.',
  },
  {
    name: 'warmth.spare_ttl',
    takes: { kind: 'number', min: 0, max: 86_400 },
    unit: 's',
    default: 60,
    doc: 'How long spares are kept after the last use of their target.',
  },
  {
    name: 'warmth.max_connections',
    takes: { kind: 'integer', min: 0, max: 64 },
    default: 16,
    doc: "At how many of a server's 64 connections no further spare is made. Above it spares are closed to make room. Live streams count, but are never refused for it.",
  },
] as const satisfies readonly SettingRow[];

/** Maximum number of spares of one target: each uses one connection of its server. */
export const MAX_SPARES = 4;

/** Overrides for one bmux target: `[targets.NAME]` in bmuxd.toml, NAME as in connections.targets. */
export const TARGET_SETTINGS = [
  {
    name: 'compression',
    takes: { kind: 'choice', values: ['auto', 'zstd', 'none'] },
    default: 'auto',
    doc: 'Whether the gateway of this target compresses: "zstd" or "none" when that is known, "auto" to go by bmux\'s config and find out.',
  },
  {
    name: 'spares',
    takes: { kind: 'count', values: ['auto'], min: 0, max: MAX_SPARES },
    default: 'auto',
    doc: 'How many ready streams are kept after a use of a TLS target, at most, for each kind of client (version and principal): "auto" for as many as recent use asks for, where the round trip is worth it; 0 for none. All together are bounded by warmth.max_connections. A spare shows in `bmux list-clients` and is one of the 64 connections of its server.',
  },
  {
    name: 'warm',
    takes: { kind: 'switch', values: ['auto'] },
    default: 'auto',
    doc: 'Whether a connection is kept: true from the start of the daemon on (one that is out of reach is tried again every 15 s), "auto" after a use, and made again when it is lost, where its share link leads by then (a link without a target socket is followed by the next request); one that wants SSH auth only while the agent signs so fast that it can have asked nobody, since a key may want a confirmation; false not at all: an iroh connection is closed within 30 s of its last stream.',
  },
] as const satisfies readonly SettingRow[];

type Valued<K> = K extends { readonly kind: 'choice'; readonly values: readonly (infer V)[] }
  ? V
  : K extends { readonly kind: 'relays'; readonly values: readonly (infer V)[] }
    ? V | readonly string[]
    : K extends { readonly kind: 'count'; readonly values: readonly (infer V)[] }
      ? V | number
      : K extends { readonly kind: 'switch'; readonly values: readonly (infer V)[] }
        ? V | boolean
        : number;
type Table<Rows extends readonly SettingRow[]> = {
  readonly [Row in Rows[number] as Row['name']]: Valued<Row['takes']>;
};

/** The settings of one named target; those that the file does not set are missing. */
export type TargetSettings = Partial<Table<typeof TARGET_SETTINGS>>;
/** All settings by their dotted name, defaults filled in, in the unit of their row: `settings['streams.client_buffer_limit']`. Plain JSON. */
export type Settings = Table<typeof SETTINGS> & {
  readonly targets: Readonly<Record<string, TargetSettings>>;
};
export type LogLevel = Settings['log.level'];

/** The settings of a target by its displayed name. Settings of the share link that led to it override them. */
export function targetSettings(
  { targets }: Pick<Settings, 'targets'>,
  { label, link }: { readonly label: string; readonly link?: string | undefined },
): TargetSettings {
  const own = (name: string): TargetSettings => (Object.hasOwn(targets, name) ? (targets[name] ?? {}) : {});
  return { ...own(label), ...(link === undefined ? {} : own(link)) };
}

/** Describes the values that a row takes, for errors and the documentation. */
export function takenBy(row: SettingRow): string {
  const { takes, unit } = row;
  const words = (values: readonly string[]): string =>
    values.map((value) => JSON.stringify(value)).join(', ');
  switch (takes.kind) {
    case 'choice':
      return `one of ${words(takes.values)}`;
    case 'relays':
      return `one of ${words(takes.values)}, or a list of 1 to ${String(takes.maxItems)} http or https URLs`;
    case 'switch':
      return `true, false or ${words(takes.values)}`;
    case 'count':
      return `${words(takes.values)}, or a whole number from ${String(takes.min)} to ${String(takes.max)}`;
    case 'integer':
    case 'number': {
      const noun = takes.kind === 'integer' ? 'a whole number' : 'a number';
      return `${noun} from ${String(takes.min)} to ${String(takes.max)}${unit === undefined ? '' : ` (${unit})`}`;
    }
  }
}

/** Whether the row takes the parsed `value`. */
export function accepts({ takes }: SettingRow, value: unknown): boolean {
  switch (takes.kind) {
    case 'choice':
      return typeof value === 'string' && takes.values.includes(value);
    case 'relays':
      if (typeof value === 'string') return takes.values.includes(value);
      return (
        Array.isArray(value) && value.length > 0 && value.length <= takes.maxItems && value.every(isHttpUrl)
      );
    case 'switch':
      return typeof value === 'boolean' || (typeof value === 'string' && takes.values.includes(value));
    case 'count':
      if (typeof value === 'string') return takes.values.includes(value);
      return Number.isInteger(value) && Number(value) >= takes.min && Number(value) <= takes.max;
    case 'integer':
      return Number.isInteger(value) && Number(value) >= takes.min && Number(value) <= takes.max;
    case 'number':
      return typeof value === 'number' && value >= takes.min && value <= takes.max;
  }
}

function isHttpUrl(value: unknown): boolean {
  if (typeof value !== 'string' || !URL.canParse(value)) return false;
  return ['http:', 'https:'].includes(new URL(value).protocol);
}

/** The settings of an empty file. */
export function defaultSettings(): Settings {
  const rows: readonly SettingRow[] = SETTINGS;
  return settingsFrom(new Map(rows.map((row) => [row.name, row.default])), {});
}

/** Checked values as settings. `values` must hold what every row of `SETTINGS` accepts. */
export function settingsFrom(values: ReadonlyMap<string, unknown>, targets: Settings['targets']): Settings {
  // The only cast from checked values to the type that is derived from the table.
  return { ...(Object.fromEntries(values) as Table<typeof SETTINGS>), targets };
}
