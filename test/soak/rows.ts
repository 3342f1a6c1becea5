// What `bmuxd status` must say of the targets at every moment of the soak.
import type { Status } from '../../daemon/api/answers.ts';
import type { Away } from './mishaps.ts';

/** `warmth.max_connections`: at no moment do so many streams live here that more are held. */
const MAX_CONNECTIONS = 16;
/** ms after its gateway's return that a way may be shown as failing: somebody asks once a second, and may wait for what was there before. */
const FAILING_MS = 12_000;
/** ms that a former way may be shown: QUIC needs 30 s to give up a stream that lives there. */
const FORMER_MS = 40_000;

export interface Shown {
  readonly target: string;
  readonly away: readonly Away[];
}

/** What is wrong with the rows; nothing when all is well. `askedSince`: since when (performance.now()) all targets are asked all the time. */
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
    // A stream that hangs on a path that died is not cut before QUIC is: its row says so.
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
