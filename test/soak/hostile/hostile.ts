// Property: hostile servers, all at once, do no harm to the engine. It stays in place, and its memory stays within `ROOM_MB` of what it has at rest.
import { pidsOf } from '../growth.ts';
import type { Started } from '../soaks.ts';
import { REGISTRY } from '../../../daemon/errors/registry.ts';
import { hostileHosts, hostileServers, startAttack, type AttackResult } from './attack.ts';

/** MB that the engine may take beyond what it has at rest, at any time. */
const ROOM_MB = 64;
/** The same in a short run, whose time at rest is before the engine has loaded all its code. */
const SHORT_ROOM_MB = 128;
/** Seconds of a short run. */
const SHORT_S = 5;

/** Error: an engine took more memory than it may. */
class TookTooMuch extends Error {
  override readonly name = 'took_too_much';
}

function quantile(sorted: readonly number[], share: number): string {
  return (sorted[Math.floor(sorted.length * share)] ?? NaN).toFixed(1);
}

/** What `bmuxd` did during the attack, in one line. */
function textOf({ requests, restMb, peakMb, aloneMs, echoMs }: AttackResult): string {
  const ms = (sorted: readonly number[]): string =>
    `${quantile(sorted, 0.5)} ms, p99 ${quantile(sorted, 0.99)} ms`;
  const echo = `${ms(echoMs)} (alone ${ms(aloneMs)})`;
  return `${String(requests)} requests, ${restMb.toFixed(0)} -> ${peakMb.toFixed(0)} MB, echo ${echo}`;
}

/** Servers on sockets. `seconds`: how long the whole soak attacks. */
export function startHostile(seconds: number): Promise<Started> {
  return started(seconds, hostileServers);
}

/** Iroh hosts. */
export function startHostileHosts(seconds: number): Promise<Started> {
  return started(seconds, hostileHosts);
}

async function started(seconds: number, launch: Parameters<typeof startAttack>[0]): Promise<Started> {
  const attack = await startAttack(launch);
  const room = seconds > SHORT_S ? ROOM_MB : SHORT_ROOM_MB;
  let restMb: number | undefined;
  return {
    run: async (more) => {
      // The first seconds of a long soak only load what an engine needs that is attacked.
      if (seconds > SHORT_S && restMb === undefined) await attack.run(1000 * SHORT_S);
      const report = await attack.run(1000 * more);
      restMb ??= report.restMb;
      if (seconds > SHORT_S) process.stderr.write(`${textOf(report)}\n`);
      const untold = Object.keys(report.answers).filter(
        (answer) => answer !== '101' && !(answer in REGISTRY),
      );
      if (untold.length > 0) throw new Error(`not told by a code: ${untold.join(', ')}`);
      if (report.requests === 0) throw new Error('no server was asked');
      if (report.peakMb > restMb + room) throw new TookTooMuch(textOf(report));
    },
    pids: () => pidsOf(attack.bmuxd),
    stop: () => attack.stop(),
  };
}
