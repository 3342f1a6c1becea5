// Resolves the local server of the caller's runtime dir as a target.
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import type { RouteInputs } from './inputs.ts';

/** Returns the local server. `warnings` explain this choice when the user may have meant another server. */
export function localTarget(inputs: RouteInputs, warnings: readonly string[] = []): ResolvedTarget {
  const epochHint = epochOf(inputs.serverVersionHint);
  return {
    label: 'local',
    route: { transport: 'local', socketPath: inputs.paths.serverSocket },
    compression: ['none'],
    compressionStated: false,
    ...(epochHint === undefined ? {} : { epochHint }),
    connectTimeoutMs: inputs.config.general.serverTimeoutMs,
    warnings,
  };
}

/** The epoch that a server of this version speaks, if known (docs/bmux-protocol.md, "Epochs"). */
function epochOf(version: string | undefined): Epoch | undefined {
  const alpha = /^0\.0\.1-alpha\.(\d+)$/.exec(version ?? '')?.[1];
  if (alpha === undefined) return undefined;
  // The epoch of alpha.1 to alpha.3 is unknown.
  if (alpha === '0') return 3;
  return Number(alpha) >= 4 ? 4 : undefined;
}
