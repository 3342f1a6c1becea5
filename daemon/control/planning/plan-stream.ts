// Makes the plan of a request from context, policy, target and principal. The checks are in the order of bmux (docs/bmux-protocol.md,
// "Order of checks"). Nothing here connects to a server.
import { Deadline } from '../../base/async/deadline.ts';
import { applyPolicy } from '../../policy/policy.ts';
import { resolveTarget, type CompressionSetting } from '../../target/resolve.ts';
import type { HttpGet } from '../../target/http/client.ts';
import { asFailure, fail, warned } from '../../errors/fail.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import type { Client, Plan, ResolvedTarget } from '../../engine-protocol/plan.ts';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { CallerFiles } from '../contexts/caller-files.ts';
import type { Contexts } from '../contexts/contexts.ts';

/** Client name for requests that give none. */
const DEFAULT_CLIENT_NAME = 'bmuxd';

export interface PlanningDeps {
  readonly contexts: Contexts;
  readonly files: CallerFiles;
  readonly settings: () => Settings;
  /** Environment of the daemon itself. */
  readonly own: { readonly env: CallerEnv };
  /** Sends lookups to the control plane. */
  readonly get: HttpGet;
}

/** The plan of a request. Rejects with the failure for the user. `signalOf` is called only for a lookup at the control plane. */
export async function planStream(
  request: StreamRequest,
  requestId: string,
  deps: PlanningDeps,
  signalOf: () => AbortSignal,
): Promise<Plan> {
  const started = performance.now();
  const inputs = deps.contexts.inputsOf(request);
  const { paths } = inputs;
  // Read in parallel, since each takes a few file system calls. Only the view can reject.
  const [view, meta, principal] = await Promise.all([
    deps.contexts.view(request, inputs),
    deps.files.meta(paths),
    deps.files.principal(paths),
  ]);
  const { config, env } = view;
  const settings = deps.settings();
  const policyWarnings = applyPolicy({
    scope: request.scope ?? 'normal',
    policy: request.policy ?? true,
    slot: view.slot,
    meta,
    staleBuildAction: config.behavior.staleBuildAction,
    buildId: request.buildId,
  });
  const warnings = [...view.warnings, ...policyWarnings];
  const target = await resolveTarget({
    target: request.target,
    env,
    cwd: inputs.cwd,
    config,
    paths,
    overrides: overridesOf(settings),
    hasHad: view.hasHad,
    refusesUnknown: (request.unknownTarget ?? settings.target_unknown) === 'refuse',
    serverVersionHint: meta?.version,
    lookup: {
      timeoutMs: settings['control_plane.timeout'],
      get: deps.get,
      get signal() {
        return signalOf();
      },
    },
  }).catch((error: unknown) => {
    const failure = asFailure(error);
    throw warned(failure, [...warnings, ...(failure.data.warnings ?? [])]);
  });
  const deadline = new Deadline(target.connectTimeoutMs - (performance.now() - started));
  if (deadline.remaining() <= 0)
    throw fail('out_of_time', { ms: target.connectTimeoutMs, step: 'finding the target' });
  return {
    destination: {
      ...target,
      address: addressOf(target.route),
      context: view.context,
      runtime: { name: paths.runtimeName, socket: paths.serverSocket },
    },
    client: {
      requestId,
      name: request.clientName ?? DEFAULT_CLIENT_NAME,
      principal,
      ...(request.contract === undefined ? {} : { contract: request.contract }),
      ifRunning: request.ifRunning ?? false,
      ...otherRoots(target, env, deps.own.env),
      warnings,
    },
    budgetMs: deadline.remaining(),
  };
}

/** The variables with which bmux would find other system roots than the daemon. Contexts do not have roots of their own. */
function otherRoots(target: ResolvedTarget, env: CallerEnv, own: CallerEnv): Pick<Client, 'otherRoots'> {
  if (target.route.transport !== 'tls') return {};
  const names = (['SSL_CERT_FILE', 'SSL_CERT_DIR'] as const).filter(
    (name) => env[name] !== undefined && env[name] !== own[name],
  );
  return names.length === 0 ? {} : { otherRoots: names.map((name) => `${name}=${env[name] ?? ''}`) };
}

/** The compression that bmuxd.toml sets for targets (`[targets.NAME]`), by target name. */
function overridesOf({ targets }: Settings): ReadonlyMap<string, CompressionSetting> {
  const overrides = new Map<string, CompressionSetting>();
  for (const [name, { compression }] of Object.entries(targets)) {
    if (compression !== undefined) overrides.set(name, compression);
  }
  return overrides;
}
