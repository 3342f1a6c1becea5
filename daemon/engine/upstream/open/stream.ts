// Opens the stream of one request in the way that takes the least time: on a spare, with a cached answer to the Hello, or by protocol detection.
import { Deadline } from '../../../base/async/deadline.ts';
import type { Epoch } from '../../../bmux-ipc/epoch.ts';
import type { Plan } from '../../../engine-protocol/plan.ts';
import type { OpenedStream, Progress } from '../dialler.ts';
import { openByDetection } from './detection.ts';
import { greetingOf } from './greeting.ts';
import { openOnSpare, openWithCachedAnswer, type OptimisticParts } from './optimistic.ts';

/** The request that a stream is opened for. */
export interface OpenedFor {
  readonly signal: AbortSignal;
  readonly progress?: Progress | undefined;
}

/** Opens the stream of `plan` within its budget. Rejects with the failure that the user reads. */
export async function openStream(
  parts: OptimisticParts,
  plan: Plan,
  { signal, progress }: OpenedFor,
): Promise<OpenedStream> {
  const { protocol, spares, helloCache } = parts;
  const epoch = plan.client.contract?.epoch ?? protocol.candidate?.epoch;
  const isLocal = plan.destination.route.transport === 'local';
  // A local server answers at once: an optimistic Hello saves no time.
  const greeting = isLocal || epoch === undefined ? undefined : greetingOf(plan, epoch);
  if (greeting === undefined) return openByDetection(parts, plan, signal, { progress });
  const deadline = new Deadline(plan.budgetMs);
  progress?.('taking a spare');
  // The second half of the budget is kept for opening a stream without a spare.
  const spare = await spares.take(plan, greeting, plan.budgetMs / 2);
  if (spare !== undefined) return openOnSpare(parts, plan, greeting, spare, signal);
  const later: Plan = { ...plan, budgetMs: Math.max(1, deadline.remaining()) };
  const answer = helloCache.get(greeting);
  if (answer === undefined) return openByDetection(parts, later, signal, { progress });
  return openWithCachedAnswer(parts, later, { greeting, answer, signal, progress });
}

/** Opens a stream on which nothing has been sent, in the compression of this server. That is detected first when it is not known. */
export async function openRaw(
  parts: OptimisticParts,
  plan: Plan,
  epoch: Epoch | undefined,
  { signal, progress }: OpenedFor,
): Promise<OpenedStream> {
  const deadline = new Deadline(plan.budgetMs);
  let { candidate } = parts.protocol;
  if (candidate === undefined) {
    const { contract: _, ...client } = plan.client;
    const detected = await openByDetection(parts, { ...plan, client }, signal, { progress });
    void parts.ends.end(detected.stream);
    candidate = detected.candidate;
  }
  const dialler = parts.dialler.for(plan.destination, deadline, progress);
  const { stream, warm } = await dialler.open(candidate, signal);
  return {
    stream,
    candidate: { ...candidate, epoch: epoch ?? candidate.epoch },
    negotiated: { revision: 0, capabilities: [] },
    warm,
  };
}
