// Which epochs and compression modes to try at a target, and in which order: what is known first, what is likeliest next.
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';

/** One way to speak to a server. */
export interface Candidate {
  readonly epoch: Epoch;
  readonly compression: Compression;
}

export type Stage = readonly Candidate[];

export function sameCandidate(a: Candidate, b: Candidate): boolean {
  return a.epoch === b.epoch && a.compression === b.compression;
}

/**
 * Stages of a race: a stage starts when the one before it has failed or kept silent for a while. Every combination is in exactly one.
 * `known`: what won at this address before. `wanted`: the only epoch that the caller speaks.
 */
export function stagesFor(
  target: ResolvedTarget,
  known: Candidate | undefined,
  wanted: Epoch | undefined,
): readonly Stage[] {
  const epochs: readonly Epoch[] = wanted === 3 ? [3, 4] : [4, 3];
  const all = target.compression.flatMap((compression) => epochs.map((epoch) => ({ epoch, compression })));
  const first = firstStage(target, all, known, wanted);
  const rest = all.filter((candidate) => !first.some((one) => sameCandidate(one, candidate)));
  // A local stream costs nothing and a refusal is there at once: one after the other, so that a full server is not hit twice.
  const later =
    target.route.transport === 'local' ? rest.map((candidate) => [candidate]) : rest.length > 0 ? [rest] : [];
  return [first, ...later];
}

function firstStage(
  target: ResolvedTarget,
  all: readonly Candidate[],
  known: Candidate | undefined,
  wanted: Epoch | undefined,
): Stage {
  if (known !== undefined && all.some((candidate) => sameCandidate(candidate, known))) {
    // Another epoch than the known one is refused only on fresh proof (design.md "First contact"): the known one is asked beside it.
    return wanted === undefined || wanted === known.epoch ? [known] : [{ ...known, epoch: wanted }, known];
  }
  if (target.route.transport === 'local') {
    const hinted = all.filter((candidate) => candidate.epoch === (wanted ?? target.epochHint));
    return hinted.length > 0 ? hinted : all.slice(0, 1);
  }
  return target.compressionStated
    ? all.filter((candidate) => candidate.compression === target.compression[0])
    : all;
}
