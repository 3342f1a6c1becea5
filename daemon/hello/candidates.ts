// Which epochs and compression modes protocol detection tries, and in which order: the cached candidate first, then the likeliest.
import type { Compression, Epoch } from '../bmux-ipc/epoch.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';

/** A protocol that a server may speak. */
export interface Candidate {
  readonly epoch: Epoch;
  readonly compression: Compression;
}

export type Stage = readonly Candidate[];

export function sameCandidate(a: Candidate, b: Candidate): boolean {
  return a.epoch === b.epoch && a.compression === b.compression;
}

/**
 * The stages of protocol detection. A stage starts when the one before it has failed, or has had no answer for a while. Every combination is
 * in exactly one stage. `known`: the cached candidate of this address. `wanted`: the only epoch that the caller speaks.
 */
export function stagesFor(
  target: ResolvedTarget,
  known: Candidate | undefined,
  wanted: Epoch | undefined,
): readonly Stage[] {
  const epochs: readonly Epoch[] = wanted === 3 ? [3, 4] : [4, 3];
  const all = target.compression.flatMap((compression) => epochs.map((epoch) => ({ epoch, compression })));
  const first = firstStage(target, all, known, wanted);
  const others = all.filter((candidate) => !first.some((one) => sameCandidate(one, candidate)));
  // A local server answers at once, so candidates are tried one after the other. That takes only one connection at a time. So it is with a
  // bridge over SSH, which takes a process there; a wrong candidate is silent.
  const later = isByHint(target) ? others.map((candidate) => [candidate]) : others.length > 0 ? [others] : [];
  return [first, ...later];
}

/** True where the version of the server tells its epoch. */
function isByHint({ route: { transport } }: ResolvedTarget): boolean {
  return transport === 'local' || transport === 'ssh';
}

function firstStage(
  target: ResolvedTarget,
  all: readonly Candidate[],
  known: Candidate | undefined,
  wanted: Epoch | undefined,
): Stage {
  if (known !== undefined && all.some((candidate) => sameCandidate(candidate, known))) {
    // A caller of another epoch is refused only when the server has just answered in the cached epoch. So that epoch is tried as well.
    return wanted === undefined || wanted === known.epoch ? [known] : [{ ...known, epoch: wanted }, known];
  }
  if (isByHint(target)) {
    const hinted = all.filter((candidate) => candidate.epoch === (wanted ?? target.epochHint));
    return hinted.length > 0 ? hinted : all.slice(0, 1);
  }
  return target.compressionStated
    ? all.filter((candidate) => candidate.compression === target.compression[0])
    : all;
}
