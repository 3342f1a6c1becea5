// Composes the resolved config: applies the layers in order, checks them, and fills in every default (docs/bmux-protocol.md, "Config layers").
import { isIPv4, isIPv6 } from 'node:net';
import { fail } from '../../errors/fail.ts';
import type { KnownGateways } from './known-gateways.ts';
import type { BmuxConfig, TargetConfig, TlsTrust } from './types.ts';
import { appliedOrder, tableOf, type Applied, type Facts } from './composition.ts';
import type { ConfigValue } from '../files/origins.ts';
import { valuesIn } from './values.ts';
import { expandConfigPath, type Variables } from './expand.ts';
import type { Layers } from './layers.ts';
import {
  BmuxSchema,
  checked,
  misfitKey,
  type Misfit,
  type TargetTable,
  type TlsTrustTable,
} from './schema.ts';
import { LARGE } from '../files/large-file.ts';
import { merged, shown, valueAt } from '../files/table.ts';
import { lineOf } from '../files/toml.ts';

export interface ComposeFacts extends Facts, Variables {}

export interface Composed {
  readonly config: BmuxConfig;
  readonly warnings: readonly string[];
  /** The values that the files set, with their origins. */
  readonly values: () => readonly ConfigValue[];
}

/** Default of `general.server_timeout`, ms; the value 0 means this default too. */
const SERVER_TIMEOUT_MS = 5000;
/** Default of a target's `connect_timeout_ms`, ms. */
const CONNECT_TIMEOUT_MS = 8000;
/** Longest timeout, ms (24.8 days, less some room for waits beyond a budget). A longer timer would fire at once. */
const LONGEST_MS = 0x7fff_ffff - 60_000;

/** True for `IP:PORT` and `[IPv6]:PORT`, the forms that bmux accepts in `iroh_ip_addr`: no host names (docs/bmux-protocol.md, "Named targets"). */
export function isSocketAddress(text: string): boolean {
  const match = /^(?:([\d.]+)|\[([\da-fA-F:.]+)(?:%\d+)?\]):(\d+)$/u.exec(text);
  if (match === null || Number(match[3]) > 65535) return false;
  return match[1] !== undefined ? isIPv4(match[1]) : isIPv6(match[2] ?? '');
}

/** A failure that names the last file that sets the key, because the value of that file is used. */
function misfitFailure(applied: readonly Applied[], misfit: Misfit) {
  const setBy = applied.findLast((piece) => valueAt(tableOf(piece), misfit.path) !== undefined);
  const line = setBy === undefined ? 1 : lineOf(setBy.doc.text, [...setBy.under, ...misfit.path]);
  return fail('config_value', { file: setBy?.doc.file ?? '', line, key: misfitKey(misfit), why: misfit.why });
}

/** Converts integers to numbers. Those beyond 2^53 lose digits, which affects no key used here. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Date)
    return value;
  const result = Object.create(null) as Record<string, unknown>;
  for (const [key, inner] of Object.entries(value)) result[key] = plain(inner);
  return result;
}

function targetOf(
  table: TargetTable,
  paths: Pick<TargetConfig, 'caFile' | 'identityFile' | 'knownHostsFile'>,
): TargetConfig {
  return {
    transport: table.transport ?? 'local',
    ...(table.host === undefined ? {} : { host: table.host }),
    ...(table.user === undefined ? {} : { user: table.user }),
    ...(table.port === undefined ? {} : { port: table.port }),
    ...(table.server_name === undefined ? {} : { serverName: table.server_name }),
    ...(table.endpoint_id === undefined ? {} : { endpointId: table.endpoint_id }),
    ...(table.relay_url === undefined ? {} : { relayUrl: table.relay_url }),
    ...(table.iroh_ip_addr === undefined ? {} : { irohIpAddr: table.iroh_ip_addr }),
    ...(table.jump === undefined ? {} : { jump: table.jump }),
    ...(table.default_session === undefined ? {} : { defaultSession: table.default_session }),
    ...paths,
    irohSshAuth: table.iroh_ssh_auth ?? false,
    strictHostKeyChecking: table.strict_host_key_checking ?? true,
    remoteBmuxPath: table.remote_bmux_path ?? 'bmux',
    connectTimeoutMs: Math.min(LONGEST_MS, Math.max(1, table.connect_timeout_ms ?? CONNECT_TIMEOUT_MS)),
    serverStartMode: table.server_start_mode ?? 'auto',
  };
}

function tlsTrustOf(table: TlsTrustTable | undefined, store: KnownGateways): TlsTrust {
  const declared = new Map<string, { fingerprint: string; label?: string }>();
  for (const [key, { fingerprint_sha256: written, label }] of Object.entries(table?.known_gateways ?? {})) {
    const fingerprint = written.trim();
    // A blank pin counts as none.
    if (fingerprint !== '') declared.set(key, { fingerprint, ...(label === undefined ? {} : { label }) });
  }
  return { mode: table?.mode ?? 'prompt', declared, store };
}

/**
 * Composes the config of a caller from `layers`. Fails with `composition_invalid`, or with `config_value`, which names file, line and key of
 * the first invalid value of a used key. Warnings name variables in paths that are not set.
 */
export function composeConfig(layers: Layers, facts: ComposeFacts, store?: KnownGateways): Composed {
  const applied = appliedOrder(layers.docs, facts);
  let root: unknown = {};
  for (const piece of applied) root = merged(root, tableOf(piece));
  const result = checked(
    BmuxSchema,
    plain(root),
    layers.docs.some(({ text }) => text.length > LARGE),
  );
  if (!('value' in result)) throw misfitFailure(applied, result);
  const { general, connections, behavior } = result.value;

  const warnings: string[] = [];
  const expanded = (written: string, field: string): string => {
    const { path, unset, borrowed } = expandConfigPath(written, facts);
    for (const name of unset) warnings.push(`unresolved env var ${name} in ${field}; keeping literal token`);
    for (const name of borrowed)
      warnings.push(`env var ${name} in ${field} is taken from the environment of bmuxd`);
    return path;
  };
  const targets = new Map<string, TargetConfig>();
  for (const [name, table] of Object.entries(connections?.targets ?? {})) {
    const {
      iroh_ip_addr: address,
      identity_file: identity,
      known_hosts_file: knownHosts,
      ca_file: ca,
    } = table;
    const at = `connections.targets.${name}`;
    if (address !== undefined && !isSocketAddress(address)) {
      const path = ['connections', 'targets', name, 'iroh_ip_addr'];
      throw misfitFailure(applied, { path, why: `${shown(address)} is not a socket address (IP:PORT)` });
    }
    targets.set(
      name,
      targetOf(table, {
        ...(identity === undefined ? {} : { identityFile: expanded(identity, `${at}.identity_file`) }),
        ...(knownHosts === undefined
          ? {}
          : { knownHostsFile: expanded(knownHosts, `${at}.known_hosts_file`) }),
        ...(ca === undefined ? {} : { caFile: expanded(ca, `${at}.ca_file`) }),
      }),
    );
  }
  const serverTimeout = general?.server_timeout ?? 0;
  const config: BmuxConfig = {
    general: {
      serverTimeoutMs: serverTimeout === 0 ? SERVER_TIMEOUT_MS : Math.min(LONGEST_MS, serverTimeout),
    },
    connections: {
      ...(connections?.default_target === undefined ? {} : { defaultTarget: connections.default_target }),
      ...(connections?.control_plane_url === undefined
        ? {}
        : { controlPlaneUrl: connections.control_plane_url }),
      targets,
      shareLinks: new Map(Object.entries(connections?.share_links ?? {})),
      ...(store === undefined ? {} : { tlsTrust: tlsTrustOf(connections?.tls_trust, store) }),
    },
    behavior: {
      staleBuildAction: behavior?.stale_build_action ?? 'ignore',
      compression: {
        enabled: behavior?.compression?.enabled ?? true,
        remote: behavior?.compression?.remote ?? 'auto',
      },
    },
  };
  return { config, warnings, values: () => valuesIn(result.value, applied) };
}
