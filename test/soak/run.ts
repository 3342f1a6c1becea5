// Runs one soak in chunks: shows progress, memory before and after, and the first input that fails.
import { Growth, residentMb } from './growth.ts';
import type { Soak } from './soaks.ts';

/** Chunks of one soak: enough to distinguish growth from normal variation. */
const CHUNKS = 40;
/** Minimum number of inputs of one chunk: with fewer, most of the time is overhead. */
const CHUNK_MIN = 5;

export interface Soaked {
  readonly name: string;
  readonly inputs: number;
  readonly seconds: number;
  /** MB of each process in the second quarter and in the last; this process first. */
  readonly memory: readonly { readonly before: number; readonly after: number }[];
}

/** Rejects with the property's own error (its seed is in the text), or with MemoryGrew. */
export async function runSoak(soak: Soak, inputs: number, say: (text: string) => void): Promise<Soaked> {
  const start = performance.now();
  const started = await soak.start(inputs);
  try {
    /** By process, in the order of their start. */
    const growths = new Map<number, Growth>();
    const chunk = Math.max(CHUNK_MIN, Math.ceil(inputs / CHUNKS));
    let done = 0;
    while (done < inputs) {
      const next = Math.min(chunk, inputs - done);
      await started.run(next);
      done += next;
      const pids = [process.pid, ...(await started.pids())];
      for (const pid of pids) {
        const who = pid === process.pid ? 'the soak itself' : `process ${String(pid)} of the daemon`;
        const growth = growths.get(pid) ?? new Growth(`${soak.name}: ${who}`);
        growths.set(pid, growth);
        growth.add(await residentMb(pid));
      }
      const rate = Math.round(done / ((performance.now() - start) / 1000));
      const mb = pids.map((pid) => growths.get(pid)?.ends().after.toFixed(0)).join(', ');
      say(`${soak.name}: ${String(done)} of ${String(inputs)}, ${String(rate)} per s, ${mb} MB`);
    }
    for (const growth of growths.values()) growth.check();
    const seconds = (performance.now() - start) / 1000;
    return { name: soak.name, inputs, seconds, memory: [...growths.values()].map((growth) => growth.ends()) };
  } finally {
    await started.stop();
  }
}
