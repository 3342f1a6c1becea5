// Checks failures while gateways restart. A request may fail only if its gateway was away, within its time limit, and with a reported reason.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Failure } from '../../../client-shim/index.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { eventsOf } from '../../target-sockets/target-socket.ts';
import { wasAway, type Away, type Control } from './mishaps.ts';

/** Time until the reason must be in the events or the log, ms. */
const NAMED_MS = 3000;
/** Time until an engine notices that its control was killed, ms. */
const KILL_NOTICED_MS = 500;
/** Tolerance for two clocks and a log that is written in batches, ms. */
const CLOCKS_MS = 100;

/** Codes that say that there is no control. */
const OF_CONTROL: ReadonlySet<string> = new Set(['daemon_not_running', 'daemon_lost', 'stopping']);

/** A request that failed. */
export interface Failed {
  readonly target: string;
  readonly way: string;
  readonly error: unknown;
  /** performance.now() of its beginning and end. */
  readonly since: number;
  readonly until: number;
  readonly limitMs: number;
  /** When its gateway was away. */
  readonly away: readonly Away[];
  /** Current and former names of its target in the daemon's texts. */
  readonly labels: ReadonlySet<string>;
}

/** Rejects with an error for a failure that is not allowed. */
export async function judge(failed: Failed, control: Control, engineLog: string): Promise<void> {
  const { target, way, error, since, until, limitMs, away } = failed;
  const code = error instanceof Failure ? error.code : undefined;
  const tookMs = Math.round(until - since);
  const text = `${target}, ${way}: ${code ?? String(error)} after ${String(tookMs)} ms`;
  const began = Math.max(since, ...away.map(({ from }) => from).filter((from) => from < until));
  if (until - began > limitMs) throw new Error(`${text}: too late`);
  // A client that cannot connect to the control socket fails at once; one that was cut off waits for the next daemon for a while.
  const graceMs = code === 'daemon_not_running' ? 0 : LIMITS.replacedMs;
  const alone = control.away.filter(({ from, to }) => Math.min(to, until) - from > graceMs);
  const byControl = OF_CONTROL.has(code ?? '') && wasAway(alone, since, until);
  if (!byControl && !wasAway(away, since, until)) throw new Error(`${text}, although its gateway was there`);
  if (code !== undefined) return;
  // Reports of an engine to a control that is being killed are lost.
  if (control.killedAt.some((at) => at > since && at < until + KILL_NOTICED_MS)) return;
  const sinceMs = Date.now() - (performance.now() - since) - CLOCKS_MS;
  const end = performance.now() + NAMED_MS;
  while (!(await isNamed(failed, sinceMs, control, engineLog))) {
    if (performance.now() > end)
      throw new Error(
        `${text}, and nothing says why:\n${(await logSince(sinceMs, control, engineLog)).join('\n')}`,
      );
    await setTimeout(50);
  }
}

/** The events or the log: an engine without a control cannot send events, and writes to its own log. */
async function isNamed(
  { labels }: Failed,
  sinceMs: number,
  control: Control,
  engineLog: string,
): Promise<boolean> {
  const isOf = (target: unknown, atMs: number): boolean =>
    typeof target === 'string' && labels.has(target) && atMs > sinceMs;
  const told = (await control.ask(eventsOf)).some(
    ({ target, atMs, type, code, detail }) =>
      isOf(target, atMs) && (code !== undefined || (type === 'stream over' && detail !== 'finished')),
  );
  if (told) return true;
  return (await logSince(sinceMs, control, engineLog)).some((line) => {
    const { target, code, why } = JSON.parse(line) as Record<string, unknown>;
    return typeof target === 'string' && labels.has(target) && (code ?? why) !== undefined;
  });
}

async function logSince(sinceMs: number, control: Control, engineLog: string): Promise<string[]> {
  const lines = control.log() + (await readFile(engineLog, 'utf8').catch(() => ''));
  return lines.split('\n').filter((line) => {
    // The first line of the kept output may be incomplete.
    const time = /^\{"level":"[a-z]+","time":"([^"]+)".*\}$/.exec(line)?.[1];
    return time !== undefined && Date.parse(time) > sinceMs;
  });
}

/** Logs of engines without control. */
export function engineLogOf(env: Readonly<Record<string, string>>): string {
  return join(env['XDG_STATE_HOME'] ?? '', 'bmuxd', 'engine.log');
}
