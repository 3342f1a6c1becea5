// Runs each soak with few inputs, so that it keeps working between the long runs.
import type { Test } from 'tap';
import { runSoak } from './run.ts';
import type { Soak } from './soaks.ts';

/** Number of inputs of a soak without `grain`. */
const GRAIN = 20;

export async function everySoakRuns(t: Test, soaks: readonly Soak[]): Promise<void> {
  for (const soak of soaks) {
    const said: string[] = [];
    const { grain = GRAIN } = soak;
    const { inputs, memory } = await runSoak(soak, grain, (text) => said.push(text));
    t.equal(inputs, grain, soak.name);
    t.match(said.at(-1), `${soak.name}: ${grain} of ${grain}`);
    t.ok((memory[0]?.after ?? 0) > 0, 'with its memory');
  }
}
