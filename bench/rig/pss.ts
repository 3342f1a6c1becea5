// The memory of processes: their proportional set size (PSS), as the kernel counts it.
import { readFile } from 'node:fs/promises';
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
