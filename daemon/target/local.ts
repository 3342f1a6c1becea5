// Resolves the local server of the caller's runtime dir as a target.
import { epochOf } from '../bmux-ipc/epoch.ts';
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
