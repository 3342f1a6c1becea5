// Checks the rows of `bmuxd status` for the targets, which must be right at every moment of the soak.
import type { Status } from '../../../daemon/api/answers.ts';
import type { Away } from './mishaps.ts';

/** `warmth.max_connections`: never reached by the number of live streams in the soak. */
const MAX_CONNECTIONS = 16;
/** How long after its gateway's return a connection may be shown as failing, ms. A request comes once a second, and may wait for the old connection. */
const FAILING_MS = 12_000;
/** How long a former connection may be shown, ms: QUIC needs 30 s to give up a stream on it. */
const FORMER_MS = 40_000;

export interface Shown {
  readonly target: string;
  readonly away: readonly Away[];
}

/** Returns the errors of the rows; empty when all are right. `askedSince`: since when all targets get requests continuously, performance.now(). */
export function wrongRows(
  { upstreams, engines }: Status,
  targets: readonly Shown[],
  askedSince: number,
): string[] {
  const now = performance.now();
  return targets.flatMap(({ target, away }) => {
    const rows = upstreams.filter((row) => row.target === target);
    const isBack = away.every(({ to }) => now - Math.max(to, askedSince) > FAILING_MS);
    const former = away.filter(({ to }) => now - to < FORMER_MS).length;
    // A stream on a dead path ends only when QUIC gives up: its row says so.
    const failing = rows.filter(
      ({ failingSinceMs, streams }) =>
        streams === 0 && failingSinceMs !== undefined && Date.now() - failingSinceMs > FAILING_MS,
    );
    const found: string[] = [];
    if (isBack && failing.length > 0) found.push('failing, although its gateway is back');
    if (rows.length > (1 + former) * engines.length) found.push('former ways');
    if (rows.reduce((sum, { connections }) => sum + connections, 0) > MAX_CONNECTIONS)
      found.push('too many connections');
    return found.map((what) => `${target}: ${what}: ${JSON.stringify(rows)}`);
  });
}
