// Parses targets that are written as an address: tls://, https://, iroh://, ssh:// and user@host (docs/bmux-protocol.md, "Inline targets").
import { agentSocketOf } from '../base/paths.ts';
import { fail, type Code } from '../errors/fail.ts';
import type { ResolvedTarget, SshRoute } from '../engine-protocol/plan.ts';
import { isSocketAddress, splitHostPort } from './addresses.ts';
import { compressionFor } from './compression.ts';
import type { CompressionSetting, RouteInputs } from './inputs.ts';
import { tlsTrustOf } from './tls-trust.ts';

/** Budget of an inline target, ms; its URL has no field for it. */
const INLINE_TIMEOUT_MS = 8_000;
const TLS_PORT = 443;

const SSH_SCHEME = 'ssh://';

/** `user@host[:port]`. The port is not checked: a mistyped port must not turn an SSH target into the local server. */
const WITH_USER = /^[^\s/:]+@[^\s@/]+$/;

/**
 * What ssh takes as a host or a user on its command line, as OpenSSH 9.6 and later check it. An older one hands it to the shell of a
 * ProxyCommand, and a share link may come from anybody.
 */
const TAKEN = /^(?!-)[^\s\p{Cc}'"`$\\;&<>|(){}]+$/u;
/** Of a user also `DOMAIN\name`. */
const TAKEN_USER = /^(?!-)(?:\\(?!$)|[^\s\p{Cc}'"`$\\;&<>|(){}])+$/u;

type InlineParser = (target: string, inputs: RouteInputs) => ResolvedTarget;

/** Case matters, as in bmux: `TLS://` is no scheme. */
const SCHEMES: Readonly<Record<string, InlineParser>> = {
  'https://': (target, inputs) => {
    // The part after the first slash is for browsers only.
    const [address = ''] = target.slice('https://'.length).split('/', 1);
    return tls(target, address, 'hosted_host_missing', inputs);
  },
  'tls://': (target, inputs) => tls(target, target.slice('tls://'.length), 'tls_inline_host_missing', inputs),
  'iroh://': iroh,
};

/** Parses an inline target; undefined for anything else. The label is the target as written. */
export function inlineTarget(target: string, inputs: RouteInputs): ResolvedTarget | undefined {
  for (const [scheme, parse] of Object.entries(SCHEMES)) {
    if (target.startsWith(scheme)) return parse(target, inputs);
  }
  return ssh(target, inputs);
}

function tls(target: string, address: string, hostMissing: Code, inputs: RouteInputs): ResolvedTarget {
  const { host, port = TLS_PORT } = splitHostPort(address);
  if (Number.isNaN(port)) throw fail('tls_port_invalid', { target });
  if (host.trim() === '') throw fail(hostMissing);
  return {
    label: target,
    route: { transport: 'tls', host, port, serverName: host, ...tlsTrustOf(host, port, inputs.config) },
    ...compressionFor(target, 'auto', inputs),
    connectTimeoutMs: INLINE_TIMEOUT_MS,
    warnings: [],
  };
}

function iroh(target: string, inputs: RouteInputs): ResolvedTarget {
  const written = target.slice('iroh://'.length);
  const question = written.indexOf('?');
  const endpointId = (question < 0 ? written : written.slice(0, question)).trim();
  if (endpointId === '') throw fail('iroh_inline_endpoint_missing');
  const { relayUrl, ipAddr, sshAuth, compression } = irohQuery(
    question < 0 ? '' : written.slice(question + 1),
  );
  const agentSocket = agentSocketOf(inputs.env, inputs.cwd);
  return {
    label: target,
    route: {
      transport: 'iroh',
      endpointId,
      ...(relayUrl === undefined ? {} : { relayUrl }),
      ...(ipAddr === undefined ? {} : { ipAddr }),
      sshAuth,
      ...(sshAuth && agentSocket !== undefined ? { agentSocket } : {}),
    },
    ...compressionFor(target, compression, inputs),
    connectTimeoutMs: INLINE_TIMEOUT_MS,
    warnings: [],
  };
}

interface IrohQuery {
  readonly relayUrl?: string;
  readonly ipAddr?: string;
  readonly sshAuth: boolean;
  readonly compression: CompressionSetting;
}

/** Keys and values are used as written, because hosts print URLs without percent-encoding. The last value of a repeated key counts. */
function irohQuery(query: string): IrohQuery {
  let parsed: IrohQuery = { sshAuth: false, compression: 'auto' };
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=');
    const key = (equals < 0 ? pair : pair.slice(0, equals)).trim().toLowerCase();
    const value = equals < 0 ? '' : pair.slice(equals + 1).trim();
    if (key === 'relay' && value !== '') parsed = { ...parsed, relayUrl: value };
    else if (key === 'auth' && value.toLowerCase() === 'ssh') parsed = { ...parsed, sshAuth: true };
    else if (key === 'compression') parsed = { ...parsed, compression: compressionWord(value) };
    else if (key === 'addr') {
      if (!isSocketAddress(value)) throw fail('iroh_addr_invalid');
      parsed = { ...parsed, ipAddr: value };
    }
  }
  return parsed;
}

function compressionWord(value: string): CompressionSetting {
  const word = value.toLowerCase();
  if (word === 'auto' || word === 'none' || word === 'zstd') return word;
  throw fail('iroh_compression_invalid', { value });
}

/** Parses `ssh://[user@]host[:port]` and `user@host[:port]`; undefined for anything else. The label is the target as written. */
function ssh(target: string, inputs: RouteInputs): ResolvedTarget | undefined {
  const hasScheme = target.startsWith(SSH_SCHEME);
  if (!hasScheme && !WITH_USER.test(target)) return undefined;
  const [address = ''] = (hasScheme ? target.slice(SSH_SCHEME.length) : target).split('/', 1);
  const at = address.lastIndexOf('@');
  const { host, port } = splitHostPort(address.slice(at + 1));
  const route = sshRoute(target, inputs, {
    host,
    ...(at < 0 ? {} : { user: address.slice(0, at) }),
    ...(port === undefined ? {} : { port }),
    strictHostKeyChecking: true,
    remoteBmuxPath: 'bmux',
    startsServer: true,
  });
  return sshTarget(target, route, INLINE_TIMEOUT_MS);
}

/** The route with the agent and the tickets of the caller. `target`: as the user wrote it, for errors. */
export function sshRoute(
  target: string,
  { env, cwd }: RouteInputs,
  fields: Omit<SshRoute, 'transport' | 'agentSocket' | 'earlierAgents' | 'tickets'>,
): SshRoute {
  const { host, user, port } = fields;
  if (port !== undefined && !(port > 0)) throw fail('ssh_port_invalid', { target });
  if (!TAKEN.test(host)) throw fail('ssh_host_invalid', { target, value: host });
  if (user !== undefined && !TAKEN_USER.test(user)) throw fail('ssh_host_invalid', { target, value: user });
  const agentSocket = agentSocketOf(env, cwd);
  return {
    transport: 'ssh',
    ...fields,
    ...(agentSocket === undefined ? {} : { agentSocket }),
    ...(env.KRB5CCNAME ? { tickets: env.KRB5CCNAME } : {}),
  };
}

/** A bridge never compresses: ssh has a compression of its own. */
export function sshTarget(label: string, route: SshRoute, connectTimeoutMs: number): ResolvedTarget {
  return {
    label,
    route,
    compression: ['none'],
    compressionStated: false,
    connectTimeoutMs: Math.max(1, connectTimeoutMs),
    warnings: [],
  };
}
