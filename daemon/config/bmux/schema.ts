// Schemas of the config keys that the broker uses. All other keys are ignored, whatever their value (docs/bmux-protocol.md, "Config layers").
import { Type, type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Value } from 'typebox/value';
import { dotted, shown, valueAt } from '../files/table.ts';

// Each `description` says which values a schema takes; the error about any other value quotes it.
const text = () => Type.String({ description: 'a string' });
const flag = () => Type.Boolean({ description: 'true or false' });
const whole = (maximum?: number) =>
  maximum === undefined
    ? Type.Integer({ minimum: 0, description: 'a whole number, 0 or more' })
    : Type.Integer({ minimum: 0, maximum, description: `a whole number from 0 to ${String(maximum)}` });
const oneOf = <T extends string[]>(...values: T) =>
  Type.Enum<T>(values, {
    description: values
      .map((value) => JSON.stringify(value))
      .join(', ')
      .replace(/, ([^,]*)$/u, ' or $1'),
  });
const table = { description: 'a table' };

/** `[connections.targets.NAME]`. */
export const TargetSchema = Type.Object(
  {
    transport: Type.Optional(oneOf('local', 'tls', 'iroh', 'ssh')),
    host: Type.Optional(text()),
    user: Type.Optional(text()),
    port: Type.Optional(whole(65535)),
    identity_file: Type.Optional(text()),
    known_hosts_file: Type.Optional(text()),
    ca_file: Type.Optional(text()),
    server_name: Type.Optional(text()),
    endpoint_id: Type.Optional(text()),
    relay_url: Type.Optional(text()),
    iroh_ip_addr: Type.Optional(text()),
    iroh_ssh_auth: Type.Optional(flag()),
    strict_host_key_checking: Type.Optional(flag()),
    jump: Type.Optional(text()),
    remote_bmux_path: Type.Optional(text()),
    connect_timeout_ms: Type.Optional(whole()),
    server_start_mode: Type.Optional(oneOf('auto', 'require_running')),
    default_session: Type.Optional(text()),
  },
  table,
);

/** The keys of bmux's config that are used here. */
export const BmuxSchema = Type.Object(
  {
    general: Type.Optional(Type.Object({ server_timeout: Type.Optional(whole()) }, table)),
    connections: Type.Optional(
      Type.Object(
        {
          default_target: Type.Optional(text()),
          control_plane_url: Type.Optional(text()),
          targets: Type.Optional(Type.Record(Type.String(), TargetSchema, table)),
          tls_trust: Type.Optional(
            Type.Object(
              {
                mode: Type.Optional(oneOf('prompt', 'require_known', 'trust_new')),
                known_gateways: Type.Optional(
                  Type.Record(
                    Type.String(),
                    Type.Object({ fingerprint_sha256: text(), label: Type.Optional(text()) }, table),
                    table,
                  ),
                ),
              },
              table,
            ),
          ),
          share_links: Type.Optional(Type.Record(Type.String(), text(), table)),
        },
        table,
      ),
    ),
    behavior: Type.Optional(
      Type.Object(
        {
          stale_build_action: Type.Optional(oneOf('ignore', 'warn', 'error')),
          compression: Type.Optional(
            Type.Object(
              {
                enabled: Type.Optional(flag()),
                remote: Type.Optional(oneOf('auto', 'none', 'zstd', 'lz4')),
              },
              table,
            ),
          ),
        },
        table,
      ),
    ),
  },
  table,
);

/** `[composition]`. */
export const CompositionSchema = Type.Object(
  {
    active_profile: Type.Optional(text()),
    layer_order: Type.Optional(Type.Array(text(), { description: 'a list of strings' })),
    auto_select: Type.Optional(
      Type.Array(
        Type.Object(
          {
            profile: Type.Optional(text()),
            cwd_prefix: Type.Optional(text()),
            host: Type.Optional(text()),
            os: Type.Optional(text()),
            term_prefix: Type.Optional(text()),
            runtime: Type.Optional(text()),
          },
          table,
        ),
        { description: 'a list of tables' },
      ),
    ),
    profiles: Type.Optional(
      Type.Record(
        Type.String(),
        Type.Object(
          {
            extends: Type.Optional(Type.Array(text(), { description: 'a list of strings' })),
            patch: Type.Optional(Type.Object({}, table)),
          },
          table,
        ),
        table,
      ),
    ),
  },
  table,
);

/** One file of the slot manifest (docs/bmux-protocol.md, "Slot manifest"). */
export const ManifestSchema = Type.Object(
  {
    default: Type.Optional(text()),
    extend: Type.Optional(Type.Array(text(), { description: 'a list of strings' })),
    slots: Type.Optional(
      Type.Record(
        Type.String(),
        Type.Object(
          {
            binary: text(),
            inherit_base: Type.Optional(flag()),
            config_dir: Type.Optional(text()),
            runtime_dir: Type.Optional(text()),
            data_dir: Type.Optional(text()),
            state_dir: Type.Optional(text()),
            log_dir: Type.Optional(text()),
          },
          table,
        ),
        table,
      ),
    ),
  },
  table,
);

export type TargetTable = Static<typeof TargetSchema>;
export type TlsTrustTable = NonNullable<NonNullable<Static<typeof BmuxSchema>['connections']>['tls_trust']>;
export type CompositionTable = Static<typeof CompositionSchema>;
export type ManifestTable = Static<typeof ManifestSchema>;

/** The first invalid value: its key path, and the reason for people. */
export interface Misfit {
  readonly path: readonly string[];
  readonly why: string;
}

/** Returns the description at `schemaPath`, the JSON pointer that the checker reports. */
function described(schema: TSchema, schemaPath: string): string {
  let node: unknown = schema;
  for (const part of schemaPath.split('/').slice(1)) {
    node = valueAt(node, [part.replaceAll('~1', '/').replaceAll('~0', '~')]);
  }
  const text = valueAt(node, ['description']);
  return typeof text === 'string' ? text : 'something else';
}

/** Checks that were compiled for large values; one for each schema of this file at most. */
const compiled = new Map<TSchema, { Check(value: unknown): boolean }>();

/** Returns the typed value, or the first invalid part of it. */
export function checked<const S extends TSchema>(
  schema: S,
  value: unknown,
  isLarge = false,
): { value: Static<S> } | Misfit {
  // Compiling takes 30 ms, and the check of 10,000 targets then 20 ms instead of 400 [measured].
  if (isLarge) compiled.set(schema, compiled.get(schema) ?? Compile(schema));
  if (compiled.get(schema)?.Check(value) ?? Value.Check(schema, value)) return { value: value as Static<S> };
  const error = Value.Errors(schema, value)[0];
  const path = (error?.instancePath ?? '')
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (error?.keyword === 'required') {
    const missing: unknown = valueAt(error, ['params', 'requiredProperties', '0']);
    return { path, why: `${typeof missing === 'string' ? missing : 'a key'} is missing` };
  }
  const takes = described(schema, error?.schemaPath ?? '#');
  return { path, why: `${shown(valueAt(value, path))} is not ${takes}` };
}

/** Formats the key of a misfit as a dotted path. */
export function misfitKey(misfit: Misfit, under: readonly string[] = []): string {
  return dotted([...under, ...misfit.path]);
}
