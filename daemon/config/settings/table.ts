// bmuxd's own settings, as data: the loader, the documentation and the types are derived from these two tables.

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
  /** Missing for a value without a unit. */
  readonly unit?: 's' | 'ms' | 'bytes';
  /** In `TARGET_SETTINGS` for the documentation only: the reader of the setting supplies the value. */
  readonly default: string | number | boolean;
  /** One sentence or two for the documentation. */
  readonly doc: string;
}

/** Settings of the daemon in `bmuxd.toml`. */
export const SETTINGS = [
  {
    name: 'log.level',
    takes: { kind: 'choice', values: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] },
    default: 'info',
    doc: 'The least severe level that is logged.',
  },
  {
    name: 'autostart',
    takes: { kind: 'switch', values: ['auto'] },
    default: 'auto',
    doc: 'Whether `bmuxd exec`, `env` and `attach` start the daemon when none runs. "auto": yes, unless a service of this user runs bmuxd. `--no-start` overrides it.',
  },
  {
    name: 'on_term',
    takes: { kind: 'choice', values: ['auto', 'leave', 'stop'] },
    default: 'auto',
    doc: 'What SIGTERM and SIGINT do. "leave": the daemon exits, and its engines finish the live streams. "stop": all streams are ended first, as by `bmuxd stop`. "auto": "stop" where the end of the daemon ends its engines, too: as process 1 of a container, as the child of its process 1, or as a service of systemd at the last logout and at a shutdown; else "leave".',
  },
  {
    name: 'idle_exit',
    takes: { kind: 'count', values: ['none'], min: 10, max: 31_536_000 },
    unit: 's',
    default: 'none',
    doc: 'How long nobody has used the daemon when it exits: no stream was live or asked for, nobody followed the events, and no target has warm = true. Only where a service manager listens on its sockets (`bmuxd install --socket`) and starts it at the next command. "none": it stays.',
  },
  {
    name: 'engine.drain_grace',
    takes: { kind: 'number', min: 0, max: 3600 },
    unit: 's',
    default: 5,
    doc: 'How long an engine without a control process and without streams waits for a new control process before it exits.',
  },
  {
    name: 'engine.drain_max',
    takes: { kind: 'count', values: ['none'], min: 0, max: 31_536_000 },
    unit: 's',
    default: 'none',
    doc: 'How long the live streams of an engine may go on after another one has taken its place, as after a restart or an upgrade. Then they are ended, and their clients are told why. "none": to their end. An engine without a control process counts from the end of its engine.orphan_grace.',
  },
  {
    name: 'iroh.relays',
    takes: { kind: 'relays', values: ['default', 'disabled'], maxItems: 32 },
    default: 'default',
    doc: 'Relay servers that the iroh endpoint may use. "default": those of the iroh library. "disabled": none, so a target behind a relay cannot be reached. A list of URLs: these servers.',
  },
  {
    name: 'iroh.silence_limit',
    takes: { kind: 'integer', min: 5, max: 30 },
    unit: 's',
    default: 30,
    doc: 'Time without a packet from an iroh host after which its streams are ended. With 30, the default, QUIC decides, as without bmuxd: a host that is stopped, or a broken network, may come back until then. A host whose process has ended is noticed within 10 s in any case when its system says so, which a relay does not.',
  },
  {
    name: 'metrics.port',
    takes: { kind: 'integer', min: 0, max: 65_535 },
    default: 0,
    doc: 'TCP port on 127.0.0.1 on which `GET /metrics` is answered, for a Prometheus that cannot read Unix sockets. Every user of this machine can read it. 0: none.',
  },
  {
    name: 'streams.max_waiting',
    takes: { kind: 'integer', min: 1, max: 65_536 },
    default: 256,
    doc: 'How many requests for streams to one server may wait for an answer at the same time. Further ones are refused at once (`target_busy`); requests to other servers are not.',
  },
  {
    name: 'streams.client_buffer_limit',
    takes: { kind: 'integer', min: 65_536, max: 1_073_741_824 },
    unit: 'bytes',
    default: 4_194_304,
    doc: 'How much the engine buffers for a client that does not read. A server ends a stream that it cannot write to for 5 s, so the engine keeps reading until this much is buffered.',
  },
  {
    name: 'streams.client_buffer_total',
    takes: { kind: 'integer', min: 1_048_576, max: 68_719_476_736 },
    unit: 'bytes',
    default: 33_554_432,
    doc: 'How much the engine buffers for all clients together that do not read. Each stream may buffer as much as is free at that moment, up to streams.client_buffer_limit.',
  },
  {
    name: 'target_unknown',
    takes: { kind: 'choice', values: ['local', 'refuse'] },
    default: 'local',
    doc: 'What a stream gets that is asked for by a word that is no address and not configured. "local": the local server and a warning, as with bmux. "refuse": the failure `target_unknown`. The commands of bmuxd that take a target always refuse.',
  },
  {
    name: 'contexts.max',
    takes: { kind: 'integer', min: 1, max: 1024 },
    default: 32,
    doc: 'How many contexts (environments with their runtime dir, config and slot) are served at once. Above that, the least recently used one is dropped.',
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
    doc: 'How long an engine without a control process still accepts on the target sockets, unless a new control process takes them over earlier.',
  },
  {
    name: 'warmth.spare_ttl',
    takes: { kind: 'number', min: 0, max: 86_400 },
    unit: 's',
    default: 60,
    doc: 'How long spares are kept after the last use of their target.',
  },
  {
    name: 'warmth.min_round_trip',
    takes: { kind: 'number', min: 0, max: 10_000 },
    unit: 'ms',
    default: 5,
    doc: 'Round trip below which a TLS target has no spares by default, so that it is cold again after a use: in a local network a spare saves too little for a connection of the server. A target that is warmed, by `bmuxd warm` or by `warm = true`, has one at any distance. 0: every target has spares.',
  },
  {
    name: 'warmth.max_connections',
    takes: { kind: 'integer', min: 0, max: 64 },
    default: 16,
    doc: "How many of a server's 64 connections bmuxd may hold before it makes no further spare. Above this number, spares are closed. Live streams count, but are never refused because of it.",
  },
] as const satisfies readonly SettingRow[];

/** Most spares of one target: each uses a connection of its server. */
export const MAX_SPARES = 4;

/** Overrides for one bmux target: `[targets.NAME]` in bmuxd.toml, NAME as in connections.targets. */
export const TARGET_SETTINGS = [
  {
    name: 'compression',
    takes: { kind: 'choice', values: ['auto', 'zstd', 'none'] },
    default: 'auto',
    doc: 'Whether the gateway of this target compresses. "zstd" or "none": this mode is tried first, alone. "auto": protocol detection finds out, and tries the mode of bmux\'s config first.',
  },
  {
    name: 'spares',
    takes: { kind: 'count', values: ['auto'], min: 0, max: MAX_SPARES },
    default: 'auto',
    doc: 'Most spares that are kept after a use of a TLS target, for each kind of client (version and principal). "auto": as many as recent use needs, if the round trip takes at least warmth.min_round_trip. 0: none. warmth.max_connections limits the spares of one server. A spare is shown by `bmux list-clients` and is one of the 64 connections of its server.',
  },
  {
    name: 'warm',
    takes: { kind: 'switch', values: ['auto'] },
    default: 'auto',
    doc: 'Whether a connection to this target is kept. true: from the start of the daemon on; an unreachable target is tried again every 15 s. "auto": after a use. false: never; an iroh connection is closed within 30 s of its last stream. With true and "auto", a lost connection is made again. If its target is a share link with a target socket, the link is resolved again for that; any other link is resolved by the next request. If it needs SSH auth, it is made again only when the last signature of the agent took less than 200 ms: a slower agent may ask the user.',
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
/** All settings by their dotted name, with defaults, in the unit of their row: `settings['streams.client_buffer_limit']`. Plain JSON. */
export type Settings = Table<typeof SETTINGS> & {
  readonly targets: Readonly<Record<string, TargetSettings>>;
};
export type LogLevel = Settings['log.level'];

/** The settings of a target in bmuxd.toml: by the name that texts show; those of the share link that led there override them. */
export function targetSettings(
  { targets }: Pick<Settings, 'targets'>,
  { label, link }: { readonly label: string; readonly link?: string | undefined },
): TargetSettings {
  const own = (name: string): TargetSettings => (Object.hasOwn(targets, name) ? (targets[name] ?? {}) : {});
  return { ...own(label), ...(link === undefined ? {} : own(link)) };
}

/** Text that describes the values of a row, for errors and for the documentation. */
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
  // The only cast from the table to the type that is derived from it.
  return { ...(Object.fromEntries(values) as Table<typeof SETTINGS>), targets };
}
