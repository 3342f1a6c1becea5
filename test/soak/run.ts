// Runs one soak in chunks: progress, memory before and after, and the first input that fails.
import { Growth, residentMb } from './growth.ts';
import type { Soak } from './soaks.ts';

/** Chunks of one soak: enough to tell growth from breathing. */
const CHUNKS = 40;
/** Inputs of one chunk at least: fewer cost more around them than in them. */
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
  const started = await soak.start();
  try {
    const pids = [process.pid, ...started.pids];
    const growths = pids.map((pid, at) => ({
      pid,
      growth: new Growth(
        `${soak.name}: ${at === 0 ? 'the soak itself' : `process ${String(pid)} of the daemon`}`,
      ),
    }));
    const chunk = Math.max(CHUNK_MIN, Math.ceil(inputs / CHUNKS));
    let done = 0;
    while (done < inputs) {
      const next = Math.min(chunk, inputs - done);
      await started.run(next);
      done += next;
      for (const { pid, growth } of growths) growth.add(await residentMb(pid));
      const rate = Math.round(done / ((performance.now() - start) / 1000));
      const mb = growths.map(({ growth }) => growth.ends().after.toFixed(0)).join(', ');
      say(`${soak.name}: ${String(done)} of ${String(inputs)}, ${String(rate)} per s, ${mb} MB`);
    }
    for (const { growth } of growths) growth.check();
    const seconds = (performance.now() - start) / 1000;
    return { name: soak.name, inputs, seconds, memory: growths.map(({ growth }) => growth.ends()) };
  } finally {
    await started.stop();
  }
}
