// Examines everything, one area after the other. Each area is examined whatever another one has found.
import { agent, config, settings, trust } from './configuration.ts';
import { daemon } from './daemon.ts';
import { files, folders, packages, service, versions } from './machine.ts';
import { proxy } from './proxy.ts';
import { checkedRows, type Check, type ReportRow, type Examined } from './row.ts';
import { targets } from './targets.ts';

const AREAS: readonly (readonly [string, Check])[] = [
  ['versions', versions],
  ['folders', folders],
  ['packages', packages],
  ['daemon', daemon],
  ['service', service],
  ['settings', settings],
  ['config', config],
  ['files', files],
  ['trust', trust],
  ['proxy', proxy],
  ['agent', agent],
  ['targets', targets],
];

/**
 * All rows. What two areas find alike is reported once. A target shows its own failure all the same, unless it comes from a file of the user,
 * which has an area of its own.
 */
export async function examine(surroundings: Examined): Promise<ReportRow[]> {
  const all = await Promise.all(AREAS.map(([area, check]) => checkedRows(area, () => check(surroundings))));
  const seen = new Set<string>();
  const causes = new Set(all.flat().flatMap(({ failure }) => failure?.causes ?? []));
  return all.flat().filter(({ area, failure }) => {
    if (failure === undefined) return true;
    // A running daemon, whose last good config is in force, tells the cause of the failure that a new one would have.
    if (area === 'daemon' && causes.has(failure.detail)) return false;
    const isOwn = area.startsWith('target ') && failure.class !== 'request';
    const key = JSON.stringify([failure.code, failure.detail, failure.causes]);
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew || isOwn;
  });
}
