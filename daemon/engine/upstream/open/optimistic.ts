// Opens a stream optimistically: on a spare, or with a cached answer to the Hello (docs/decisions/optimistic-hello.md).
import type { BrokerEvent } from '../../../api/answers.ts';
import { Deadline } from '../../../base/async/deadline.ts';
import type { Failure } from '../../../base/failure.ts';
import { askedFor, type Plan } from '../../../engine-protocol/plan.ts';
import { classOf } from '../../../errors/error-class.ts';
import { asFailure } from '../../../errors/fail.ts';
import { helloOpening, pingOpening } from '../../../hello/expected-answer.ts';
import type { Greeting, HelloAnswer } from '../../../hello/hello-cache.ts';
import { OptimisticStream, type OptimisticOptions } from '../../../hello/optimistic.ts';
import type { OpenedStream } from '../dialler.ts';
import { answerTimes } from './greeting.ts';
import type { OpenedFor } from './stream.ts';
import { openByDetection, type UpstreamParts } from './detection.ts';
import type { TakenSpare } from '../upstream-spares.ts';

export interface OptimisticParts extends UpstreamParts {
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
}

/** A spare was checked at most some seconds ago. The answer to a Ping shows whether its server can still be reached. */
export function openOnSpare(
  parts: OptimisticParts,
  plan: Plan,
  greeting: Greeting,
  spare: TakenSpare,
  signal: AbortSignal,
): OpenedStream {
  const { candidate, negotiated, pending } = spare;
  if (signal.aborted) {
    void parts.ends.end(spare.stream);
    throw asFailure(signal.reason);
  }
  const { epoch } = candidate;
  const roundTripMs = spare.roundTripMs ?? parts.helloCache.get(greeting)?.roundTripMs ?? 0;
  const aheadMs = pending === undefined ? 0 : performance.now() - pending.since;
  const stream = optimisticStream(parts, plan, {
    inner: spare.stream,
    epoch,
    opening: pingOpening(epoch, pending),
    expected: negotiated,
    ...answerTimes(plan, roundTripMs),
    onConfirmed: (elapsedMs) => {
      parts.health.answered(aheadMs + elapsedMs);
    },
  });
  return { stream, candidate, negotiated, warm: true };
}

/** The Hello and the first request are sent together. The server's answer is compared with the cached one. */
export async function openWithCachedAnswer(
  parts: OptimisticParts,
  plan: Plan,
  options: OpenedFor & { readonly greeting: Greeting; readonly answer: HelloAnswer },
): Promise<OpenedStream> {
  const { greeting, answer, signal, progress } = options;
  const { candidate, negotiated, roundTripMs } = answer;
  const { helloCache, health, spares } = parts;
  const over = parts.references.open(plan.destination);
  const since = performance.now();
  try {
    const dialler = parts.dialler.for(plan.destination, new Deadline(plan.budgetMs), progress);
    const opened = await dialler.open(candidate, signal);
    const { stream: inner, warm, below, pinned, acknowledge } = opened;
    const dialMs = performance.now() - since;
    const stream = optimisticStream(parts, plan, {
      inner,
      epoch: candidate.epoch,
      opening: helloOpening(candidate.epoch, greeting, negotiated),
      expected: negotiated,
      ...answerTimes(plan, roundTripMs),
      onConfirmed: (elapsedMs) => {
        // The client's first request was sent with the Hello, and its answer comes next.
        acknowledge?.();
        if (below !== undefined) below.helloAnswered = true;
        helloCache.store(greeting, { candidate, negotiated, roundTripMs: elapsedMs });
        health.answered(elapsedMs);
        spares.used(plan, greeting, dialMs + elapsedMs, elapsedMs, pinned);
      },
    });
    return { stream, candidate, negotiated, warm };
  } finally {
    over();
  }
}

/** When the expected answer does not come, a new stream replaces the inner one, if the sent requests may be repeated. */
function optimisticStream(
  parts: OptimisticParts,
  plan: Plan,
  options: Pick<
    OptimisticOptions,
    'inner' | 'epoch' | 'opening' | 'expected' | 'answerMs' | 'limitMs' | 'onConfirmed'
  >,
): OptimisticStream {
  const { destination } = plan;
  return new OptimisticStream({
    ...options,
    label: destination.label,
    toldByAnswer: plan.client.toldByAnswer === true,
    onLate: () => {
      // The next caller waits for the server itself.
      parts.helloCache.clear();
      parts.spares.markStale();
    },
    onFailed: (failure) => {
      optimisticOpenFailed(parts, plan, failure);
    },
    // The request for the stream is over at this time, so the replay has a new budget.
    reopen: (gone) => openByDetection(parts, { ...plan, budgetMs: destination.connectTimeoutMs }, gone),
    end: (ending) => {
      void parts.ends.end(ending);
    },
  });
}

/** The expected answer has not come: from now on no answer of the server is expected, and its spares are dropped. */
function optimisticOpenFailed(parts: OptimisticParts, plan: Plan, failure: Failure): void {
  const { address, helloCache, spares, references, log, event } = parts;
  helloCache.clear();
  spares.drop();
  references.of(plan.destination)?.health.optimisticOpenFailed(failure.data);
  const { requestId } = plan.client;
  const told = {
    target: askedFor(plan.destination),
    requestId,
    code: failure.code,
    class: classOf(failure.data),
    detail: failure.message,
  };
  log.warn({ ...told, address }, 'optimistic open failed');
  event({ type: 'optimistic open failed', ...told });
}
