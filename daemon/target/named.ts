// Resolves targets of `[connections.targets.NAME]`, with one function per transport (docs/bmux-protocol.md, "Named targets").
import { isAbsolute } from 'node:path';
import { agentSocketOf, appended } from '../base/paths.ts';
import type { TargetConfig, TargetTransport } from '../config/bmux/types.ts';
import { fail } from '../errors/fail.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import { withoutBrackets } from './addresses.ts';
import { compressionFor } from './compression.ts';
import { sshRoute, sshTarget } from './inline.ts';
import type { RouteInputs } from './inputs.ts';
import { localTarget } from './local.ts';
import { tlsTrustOf } from './tls-trust.ts';

type NamedMaker = (name: string, target: TargetConfig, inputs: RouteInputs) => ResolvedTarget;

const MAKERS: Readonly<Record<TargetTransport, NamedMaker>> = {
  local: (_name, _target, inputs) => localTarget(inputs),
  tls: (name, target, inputs) => {
    const host = withoutBrackets(target.host ?? '');
    if (host.trim() === '') throw fail('tls_host_missing', { name });
    return remote(name, target, inputs, {
      transport: 'tls',
      host,
      port: target.port ?? 443,
      serverName: target.serverName ?? host,
      ...(target.caFile === undefined ? {} : { caFile: appended(inputs.cwd, target.caFile) }),
      ...tlsTrustOf(host, target.port ?? 443, inputs.config),
    });
  },
  iroh: (name, target, inputs) => {
    // `host` is used only when endpoint_id is absent, not when it is blank.
    const endpointId = target.endpointId ?? target.host ?? '';
    if (endpointId.trim() === '') throw fail('iroh_endpoint_missing', { name });
    const agentSocket = agentSocketOf(inputs.env, inputs.cwd);
    return remote(name, target, inputs, {
      transport: 'iroh',
      endpointId,
      ...(target.relayUrl === undefined ? {} : { relayUrl: target.relayUrl }),
      ...(target.irohIpAddr === undefined ? {} : { ipAddr: target.irohIpAddr }),
      sshAuth: target.irohSshAuth,
      ...(target.irohSshAuth && agentSocket !== undefined ? { agentSocket } : {}),
    });
  },
  ssh: (name, target, inputs) => {
    const { user, port, jump, identityFile, knownHostsFile } = target;
    const route = sshRoute(name, inputs, {
      host: withoutBrackets(target.host ?? name),
      ...(user === undefined ? {} : { user }),
      ...(port === undefined ? {} : { port }),
      ...(jump === undefined ? {} : { jump }),
      // ssh passes over a file without a name.
      ...(identityFile === undefined || identityFile === ''
        ? {}
        : { identityFile: ofCaller(inputs.cwd, identityFile, IDENTITY_OF_SSH) }),
      ...(knownHostsFile === undefined ? {} : { knownHostsFile: knownHostsOf(inputs.cwd, knownHostsFile) }),
      strictHostKeyChecking: target.strictHostKeyChecking,
      remoteBmuxPath: target.remoteBmuxPath,
      startsServer: target.serverStartMode === 'auto',
    });
    return sshTarget(name, route, target.connectTimeoutMs);
  },
};

/** Returns the target that the config calls `name`. Fails with an error that names the keys its transport needs. */
export function namedTarget(name: string, target: TargetConfig, inputs: RouteInputs): ResolvedTarget {
  return MAKERS[target.transport](name, target, inputs);
}

function remote(
  name: string,
  target: TargetConfig,
  inputs: RouteInputs,
  route: ResolvedTarget['route'],
): ResolvedTarget {
  return {
    label: name,
    route,
    // Named targets have no key for compression.
    ...compressionFor(name, 'auto', inputs),
    connectTimeoutMs: Math.max(1, target.connectTimeoutMs),
    warnings: [],
  };
}

/** What ssh does not look for in its folder: a home, `none`, and in known_hosts a variable of ssh. */
const IDENTITY_OF_SSH = /^(?:~|none$)/i;
const KNOWN_HOSTS_OF_SSH = /^(?:~|none$|%d|\$\{)/i;

/** A file in the folder of the caller. ssh expands `%` in paths, and `%%` is the character. */
function ofCaller(cwd: string, file: string, ofSsh: RegExp): string {
  return isAbsolute(file) || ofSsh.test(file) ? file : appended(cwd.replaceAll('%', '%%'), file);
}

/** One or more files, as `UserKnownHostsFile` of ssh takes them. */
function knownHostsOf(cwd: string, written: string): string {
  const [list = ''] = written.split(/(?<!\S)#/, 1);
  const words = list.match(/"[^"]*"|[^\s"]+/g) ?? [];
  // What is left to ssh it reads itself, or says what is wrong.
  if (words.length === 0 || /['\\]/.test(list) || list.split('"').length % 2 === 0) return written;
  const files = words.map((word) => word.replaceAll('"', ''));
  // A path with spaces is meant more often than bmux, which hands it to ssh without quotes, finds it.
  if (files.length > 1 && !list.includes('"')) files.push(list.trim());
  return files.map((file) => quoted(ofCaller(cwd, file, KNOWN_HOSTS_OF_SSH))).join(' ');
}

function quoted(file: string): string {
  return /[\s"'\\#]/.test(file) ? `"${file.replace(/["\\]/g, '\\$&')}"` : file;
}
