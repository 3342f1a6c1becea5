// The rows of an upstream in the status, one for each of its targets.
import type { UpstreamRow } from '../../../api/answers.ts';
import type { UpstreamParts } from '../open/detection.ts';
import type { TargetUse } from './target-use.ts';
import type { UpstreamIroh } from '../upstream-iroh.ts';
import type { UpstreamSsh } from '../upstream-ssh.ts';

export interface RowParts extends Pick<UpstreamParts, 'address' | 'references' | 'health' | 'spares'> {
  readonly iroh: UpstreamIroh;
  readonly ssh: UpstreamSsh;
  /** Number of connections that are held. */
  readonly connections: number;
}

/**
 * Each target has its own state, streams and failures. What is counted for the server is in one row alone, so that sums are right: that of the
 * first target that is not failing.
 */
export function rowsOf(parts: RowParts): UpstreamRow[] {
  const { address, references, health, spares, iroh, connections } = parts;
  const { uses } = references;
  const first = uses.find((use) => !use.health.isFailing) ?? uses[0];
  return uses.map((use) => {
    const { target, route, streams } = use;
    const warmSince = warmSinceMs(parts, use);
    const roundTripMs = iroh.roundTripMs(route) ?? health.roundTripMs;
    return {
      address,
      target,
      transport: route.transport,
      ...health.candidate,
      ...use.health.row,
      state: stateOf(parts, use, warmSince !== undefined),
      ...(roundTripMs === undefined ? {} : { roundTripMs: Math.round(roundTripMs * 10) / 10 }),
      spares: use === first ? spares.count : 0,
      connections: use === first ? connections : 0,
      warm: warmSince !== undefined,
      ...(warmSince === undefined ? {} : { warmSinceMs: warmSince }),
      streams,
    };
  });
}

/** When the oldest iroh or SSH connection or spare was made, ms since 1970; undefined when there is none. */
export function warmSinceMs(
  { iroh, ssh, spares }: Pick<RowParts, 'iroh' | 'ssh' | 'spares'>,
  { route }: Pick<TargetUse, 'route'>,
): number | undefined {
  return iroh.warmSinceMs(route) ?? ssh.warmSinceMs(route) ?? spares.sinceMs;
}

function stateOf({ iroh }: RowParts, use: TargetUse, isWarm: boolean): UpstreamRow['state'] {
  if (use.health.isFailing) return 'failing';
  if (isWarm) return 'warm';
  return use.isOpening || iroh.isDialling(use.route) ? 'connecting' : 'cold';
}
