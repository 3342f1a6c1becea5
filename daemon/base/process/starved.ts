// Tells a process that hangs from one that gets no CPU, as on a machine with too much work.
import { readdirSync, readFileSync } from 'node:fs';
import { monotonicMs } from '../async/monotonic.ts';
import { ageOf, identityOf } from './identity.ts';

/** What a process has used so far, and whether it could use more now. A thread of it may wait for another one, which waits for a CPU. */
export interface CpuUse {
  readonly ms: number;
  /** ms in which its threads have waited for a CPU and then got one; 0 where the kernel does not count this. */
  readonly waitedMs: number;
  readonly isRunnable: boolean;
}

/** ms of a tick of /proc/PID/stat: Linux has 100 in a second for all programs. */
const TICK_MS = 10;
/** Of the time: one that wanted to run and got less is starved. */
const LEAST_SHARE = 1 / 2;
/** Threads that are looked at: Node has about ten. */
const MAX_THREADS = 64;

/** Undefined when there is no such process, or where the system does not tell in this way. */
export function cpuUseOf(pid: number | undefined): CpuUse | undefined {
  if (pid === undefined || process.platform !== 'linux') return undefined;
  try {
    const folder = `/proc/${String(pid)}`;
    const used = fieldsOf(folder);
    const ms = (Number(used[11]) + Number(used[12])) * TICK_MS;
    if (!Number.isFinite(ms)) return undefined;
    const threads = readdirSync(`${folder}/task`).slice(0, MAX_THREADS);
    const waits = threads.map((id) => waitOf(`${folder}/task/${id}`));
    return {
      ms,
      waitedMs: waits.reduce((sum, { waitedMs }) => sum + waitedMs, 0),
      isRunnable: waits.some(({ isRunnable }) => isRunnable),
    };
  } catch {
    return undefined;
  }
}

/** The fields of a `stat` file behind the name, the state first: proc_pid_stat(5). */
function fieldsOf(folder: string): string[] {
  // A process that knows its own name can put brackets and spaces into it.
  const stat = readFileSync(`${folder}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Of one thread. The kernel counts waits in ns, without the one under way (Documentation/scheduler/sched-stats.rst). */
function waitOf(folder: string): Pick<CpuUse, 'waitedMs' | 'isRunnable'> {
  let isRunnable = false;
  try {
    isRunnable = fieldsOf(folder)[0] === 'R';
    const waited = Number(readFileSync(`${folder}/schedstat`, 'latin1').split(' ')[1]);
    return { isRunnable, waitedMs: Number.isFinite(waited) ? waited / 1e6 : 0 };
  } catch {
    // It has ended, or the kernel has no such statistics.
    return { isRunnable, waitedMs: 0 };
  }
}

/** Whether a process that was like `before` has waited for a CPU in the `ms` until `now`. */
export function isStarved(before: CpuUse | undefined, now: CpuUse | undefined, ms: number): boolean {
  if (before === undefined || now === undefined) return false;
  // It may have had its turn a moment ago.
  if (now.waitedMs - before.waitedMs > ms * (1 - LEAST_SHARE)) return true;
  return now.isRunnable && now.ms - before.ms < ms * LEAST_SHARE;
}

/** From now on. The returned function tells whether the process `pid` has waited for a CPU since. */
export function watchCpu(pid: number | undefined): () => boolean {
  const [before, since] = [cpuUseOf(pid), monotonicMs()];
  return () => isStarved(before, cpuUseOf(pid), monotonicMs() - since);
}

/** Questions to a process that waits for a CPU all the time. */
const MAX_QUESTIONS = 10;

/**
 * Whether the process `pid` answers: the first question, the second, or a later one while it gets no CPU. `ask` has a time limit. Where the
 * process is not known, there are two questions.
 */
export async function answersInTurn(pid: number | undefined, ask: () => Promise<boolean>): Promise<boolean> {
  for (let asked = 1; ; asked += 1) {
    const waits = watchCpu(pid);
    if (await ask()) return true;
    if (asked === MAX_QUESTIONS || (asked > 1 && !waits())) return false;
  }
}

const NEW: CpuUse = { ms: 0, waitedMs: 0, isRunnable: false };

/** Whether the process `pid`, or one that it has started, has waited for a CPU for most of its life. */
export function isShortOfCpu(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  return [pid, ...childrenOf(pid)].some((one) => {
    const ms = ageOf(identityOf(one));
    return Number.isFinite(ms) && !isStopped(one) && isStarved(NEW, cpuUseOf(one), ms);
  });
}

/** Whether a signal has stopped it: it does not wait for a CPU then, whatever it did before. */
function isStopped(pid: number): boolean {
  try {
    return fieldsOf(`/proc/${String(pid)}`)[0] === 'T';
  } catch {
    return false;
  }
}

/** Children of its main thread, which starts all of them in Node. Empty where the kernel does not tell. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
