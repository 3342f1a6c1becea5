// What processes use, as the kernel counts it: memory (the proportional set size, PSS), wake-ups and CPU time.
import { readdir, readFile } from 'node:fs/promises';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { Skip } from '../measure.ts';

/** MB (10^6 bytes) of one process. Linux only. */
async function pssOf(pid: number): Promise<number> {
  if (process.platform !== 'linux') throw new Skip('PSS is counted on Linux only');
  const text = await readFile(`/proc/${String(pid)}/smaps_rollup`, 'utf8');
  const kib = Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? NaN);
  return (kib * 1024) / 1e6;
}

const STEP_MS = 500;
const STEPS_MAX = 12;

/** MB of all processes together, once it is stable (two values within 1 %), after 6 s at the latest. */
export async function settledPss(pids: readonly number[]): Promise<number> {
  const sum = async (): Promise<number> => {
    const all = await Promise.all(pids.map(pssOf));
    return all.reduce((total, one) => total + one, 0);
  };
  let last = await sum();
  for (let step = 0; step < STEPS_MAX; step += 1) {
    await sleep(STEP_MS);
    const next = await sum();
    if (Math.abs(next - last) < last / 100) return next;
    last = next;
  }
  return last;
}

/** What the threads of some processes have done since their start. */
interface Activity {
  /** Times that a thread has waited and was woken up: its voluntary context switches. */
  readonly wakeUps: number;
  readonly cpuMs: number;
}

async function activityOf(pids: readonly number[]): Promise<Activity> {
  if (process.platform !== 'linux') throw new Skip('wake-ups are counted on Linux only');
  let wakeUps = 0;
  let cpuMs = 0;
  for (const pid of pids) {
    for (const thread of await readdir(`/proc/${String(pid)}/task`)) {
      const folder = `/proc/${String(pid)}/task/${thread}`;
      // A thread may have ended meanwhile.
      const status = await readFile(`${folder}/status`, 'utf8').catch(() => '');
      const times = await readFile(`${folder}/schedstat`, 'utf8').catch(() => '');
      wakeUps += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? 0);
      cpuMs += Number(times.split(' ', 1)[0] ?? 0) / 1e6;
    }
  }
  return { wakeUps, cpuMs };
}

/** What happens in each group of processes in the same `ms`, per second. */
export async function activityIn(
  ms: number,
  groups: readonly (readonly number[])[],
): Promise<readonly { readonly wakeUps: number; readonly cpuMs: number }[]> {
  const since = performance.now();
  const before = await Promise.all(groups.map(activityOf));
  await sleep(ms);
  const after = await Promise.all(groups.map(activityOf));
  const seconds = (performance.now() - since) / 1000;
  return after.map(({ wakeUps, cpuMs }, index) => ({
    wakeUps: (wakeUps - (before[index]?.wakeUps ?? 0)) / seconds,
    cpuMs: (cpuMs - (before[index]?.cpuMs ?? 0)) / seconds,
  }));
}
