// What may fail while gateways come and go: only what was under way while its gateway was away, within its limit, and with a name.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Failure } from '../../client-shim/index.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { eventsOf } from '../target-sockets/target-socket.ts';
import { wasAway, type Away, type Control } from './mishaps.ts';

/** ms until a name must be where people look. */
const NAMED_MS = 3000;
/** ms until an engine notices that its control was killed. */
const UNHEARD_MS = 500;
/** Two clocks, and a log that is written in batches, ms. */
const CLOCKS_MS = 100;

/** What says that there is no control. */
const OF_CONTROL: ReadonlySet<string> = new Set(['daemon_not_running', 'daemon_lost', 'stopping']);

/** A request that failed. */
export interface Failed {
  readonly target: string;
  readonly way: string;
  readonly error: unknown;
  /** performance.now() of its beginning and its end. */
  readonly since: number;
  readonly until: number;
  readonly limitMs: number;
  /** When its gateway was away. */
  readonly away: readonly Away[];
  /** What texts of the daemon call its target, or have called it. */
  readonly labels: ReadonlySet<string>;
}

/** Rejects with what should not have happened. */
export async function judge(failed: Failed, control: Control, engineLog: string): Promise<void> {
  const { target, way, error, since, until, limitMs, away } = failed;
  const code = error instanceof Failure ? error.code : undefined;
  const tookMs = Math.round(until - since);
  const text = `${target}, ${way}: ${code ?? String(error)} after ${String(tookMs)} ms`;
  const began = Math.max(since, ...away.map(({ from }) => from).filter((from) => from < until));
  if (until - began > limitMs) throw new Error(`${text}: too late`);
  // Who finds nobody at the control socket is told so at once; who was cut looks for the next daemon for a while.
  const graceMs = code === 'daemon_not_running' ? 0 : LIMITS.replacedMs;
  const alone = control.away.filter(({ from, to }) => Math.min(to, until) - from > graceMs);
  const byControl = OF_CONTROL.has(code ?? '') && wasAway(alone, since, until);
  if (!byControl && !wasAway(away, since, until)) throw new Error(`${text}, although its gateway was there`);
  if (code !== undefined) return;
  // What an engine tells a control that is just being killed is lost with it.
  if (control.killedAt.some((at) => at > since && at < until + UNHEARD_MS)) return;
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

/** In the events, or in the log: an engine without a control has nobody to tell, and writes to a log of its own. */
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
    // The first line that is kept may have lost its beginning.
    const time = /^\{"level":"[a-z]+","time":"([^"]+)".*\}$/.exec(line)?.[1];
    return time !== undefined && Date.parse(time) > sinceMs;
  });
}

/** Where engines log that have no control. */
export function engineLogOf(env: Readonly<Record<string, string>>): string {
  return join(env['XDG_STATE_HOME'] ?? '', 'bmuxd', 'engine.log');
}
