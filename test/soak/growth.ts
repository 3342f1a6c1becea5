// Detects whether a process grows while it repeats the same work.
import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Bmuxd } from '../daemon/bmuxd.ts';

/** Error: a process grew. It names the work and the growth. */
export class MemoryGrew extends Error {
  override readonly name = 'memory_grew';
}

/** MB that a process may grow, whatever its size, because heap sizes vary. */
const SLACK_MB = 16;
/** Share of its size that it may grow in addition. */
const SLACK = 0.1;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** The processes of a daemon. */
export async function pidsOf(bmuxd: Bmuxd): Promise<number[]> {
  const { pid, engines } = await bmuxd.status();
  return [pid, ...engines.map((engine) => engine.pid)];
}

/** Resident MB of a process; of this one after a garbage collection. Undefined for other processes where there is no /proc. */
export async function residentMb(pid: number): Promise<number | undefined> {
  if (pid === process.pid) {
    collect();
    return process.memoryUsage.rss() / 1e6;
  }
  const text = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '');
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? undefined : (Number(kib) * 1024) / 1e6;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

/** Samples at even intervals. The first quarter is treated as warm-up. */
export class Growth {
  readonly #what: string;
  readonly #samples: number[] = [];

  constructor(what: string) {
    this.#what = what;
  }

  add(mb: number | undefined): void {
    if (mb !== undefined) this.#samples.push(mb);
  }

  /** MB of the second quarter and of the last; of the first and the last sample when there are few. */
  ends(): { readonly before: number; readonly after: number } {
    const all = this.#samples;
    const quarter = Math.floor(all.length / 4);
    if (quarter < 2) return { before: all[0] ?? NaN, after: all.at(-1) ?? NaN };
    return { before: median(all.slice(quarter, 2 * quarter)), after: median(all.slice(-quarter)) };
  }

  /** Throws MemoryGrew when the last quarter is clearly above the second. Too few samples never throw. */
  check(): void {
    if (this.#samples.length < 8) return;
    const { before, after } = this.ends();
    if (after > before * (1 + SLACK) + SLACK_MB)
      throw new MemoryGrew(`${this.#what} grew from ${before.toFixed(1)} to ${after.toFixed(1)} MB`);
  }
}
