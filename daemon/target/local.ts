// The local server of the caller's runtime dir as a target.
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import type { RouteInputs } from './inputs.ts';

/** The local server. `warnings` say why it is this one when the user may have meant another. */
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

/** The epoch that a server's version speaks, where that is known (docs/bmux-protocol.md, "Epochs"). */
function epochOf(version: string | undefined): Epoch | undefined {
  const alpha = /^0\.0\.1-alpha\.(\d+)$/.exec(version ?? '')?.[1];
  if (alpha === undefined) return undefined;
  // Nobody has seen what alpha.1 to alpha.3 speak.
  if (alpha === '0') return 3;
  return Number(alpha) >= 4 ? 4 : undefined;
}
