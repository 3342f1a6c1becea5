// Property: an engine that aborts is replaced, control stays up, and its memory and descriptors come back.
import { readdir } from 'node:fs/promises';
import type { Bmuxd } from '../../daemon/bmuxd.ts';
import { waitFor } from '../../real/index.ts';

/** Descriptors that control may have more than at the start: connections of the moment. */
const SPARE_FDS = 4;

/** Aborts the engine `inputs` times, and tells how long the next one took: most of it is the start of a process. */
export async function abortsAreMended(bmuxd: Bmuxd, inputs: number): Promise<void> {
  const fds = async (): Promise<number> =>
    (await readdir(`/proc/${String(bmuxd.pid)}/fd`).catch((): string[] => [])).length;
  const before = await fds();
  const times: number[] = [];
  for (let done = 0; done < inputs; done += 1) {
    const engine = await bmuxd.enginePid();
    process.kill(engine, 'SIGABRT');
    const from = performance.now();
    await waitFor('the next engine', async () =>
      (await bmuxd.status()).engines.some(({ state, pid }) => state === 'serving' && pid !== engine),
    );
    times.push(performance.now() - from);
    const { stream } = await bmuxd.open({ target: 'local' });
    stream.destroy();
  }
  times.sort((a, b) => a - b);
  const [median = NaN, longest = NaN] = [times[Math.floor(times.length / 2)], times.at(-1)];
  process.stderr.write(`next engine: median ${median.toFixed(0)} ms, longest ${longest.toFixed(0)} ms\n`);
  await waitFor('the descriptors of control to be closed', async () => (await fds()) <= before + SPARE_FDS);
}
