// The row of an upstream in the status.
import type { UpstreamRow } from '../../api/answers.ts';
import type { Route } from '../../engine-protocol/plan.ts';
import type { UpstreamParts } from './open/detection.ts';
import type { UpstreamIroh } from './upstream-iroh.ts';
import type { UpstreamSsh } from './upstream-ssh.ts';

export interface RowParts extends Pick<UpstreamParts, 'address' | 'references' | 'health' | 'spares'> {
  readonly iroh: UpstreamIroh;
  readonly ssh: UpstreamSsh;
  /** Number of connections that are held. */
  readonly connections: number;
  /** Number of live streams. */
  readonly streams: number;
}

/** Undefined when the server was not used yet. */
export function rowOf(parts: RowParts): UpstreamRow | undefined {
  const { address, references, health, spares, iroh, connections, streams } = parts;
  const { target, route } = references;
  if (target === undefined || route === undefined) return undefined;
  const warmSince = warmSinceMs(parts, route);
  const roundTripMs = iroh.roundTripMs(route) ?? health.roundTripMs;
  return {
    address,
    target,
    transport: route.transport,
    ...health.row,
    state: stateOf(parts, route, warmSince !== undefined),
    ...(roundTripMs === undefined ? {} : { roundTripMs: Math.round(roundTripMs * 10) / 10 }),
    spares: spares.count,
    connections,
    warm: warmSince !== undefined,
    ...(warmSince === undefined ? {} : { warmSinceMs: warmSince }),
    streams,
  };
}

/** When the oldest iroh or SSH connection or spare was made, ms since 1970; undefined when there is none. */
export function warmSinceMs(
  { iroh, ssh, spares }: Pick<RowParts, 'iroh' | 'ssh' | 'spares'>,
  route: Route | undefined,
): number | undefined {
  const connected = route === undefined ? undefined : (iroh.warmSinceMs(route) ?? ssh.warmSinceMs(route));
  return connected ?? spares.sinceMs;
}

function stateOf(
  { references, health, iroh }: RowParts,
  route: Route,
  isWarm: boolean,
): UpstreamRow['state'] {
  if (health.isFailing) return 'failing';
  if (isWarm) return 'warm';
  return references.isOpening || iroh.isDialling(route) ? 'connecting' : 'cold';
}
