// Tells a process that hangs from one that gets no CPU, as on a machine with too much work.
import { readFileSync } from 'node:fs';

/** What a process has used so far, and whether it could use more now. */
export interface CpuUse {
  readonly ms: number;
  readonly isRunnable: boolean;
}

/** ms of a tick of /proc/PID/stat: Linux has 100 in a second for all programs. */
const TICK_MS = 10;
/** Of the time: one that wanted to run and got less is starved. */
const LEAST_SHARE = 1 / 2;

/** Undefined when there is no such process, or where the system does not tell in this way. */
export function cpuUseOf(pid: number | undefined): CpuUse | undefined {
  if (pid === undefined || process.platform !== 'linux') return undefined;
  try {
    // A process that knows its own name can put brackets and spaces into it: proc_pid_stat(5).
    const stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ms = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    return Number.isFinite(ms) ? { ms, isRunnable: fields[0] === 'R' } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process that was like `before` has waited for a CPU in the `ms` until `now`. */
export function isStarved(before: CpuUse | undefined, now: CpuUse | undefined, ms: number): boolean {
  if (before === undefined || now?.isRunnable !== true) return false;
  return now.ms - before.ms < ms * LEAST_SHARE;
}
