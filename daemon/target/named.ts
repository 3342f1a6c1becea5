// Resolves targets of `[connections.targets.NAME]`, with one function per transport (docs/bmux-protocol.md, "Named targets").
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
      ...(identityFile === undefined ? {} : { identityFile: appended(inputs.cwd, identityFile) }),
      ...(knownHostsFile === undefined ? {} : { knownHostsFile: appended(inputs.cwd, knownHostsFile) }),
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
