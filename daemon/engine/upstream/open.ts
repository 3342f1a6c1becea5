// From a plan to a stream with an answered Hello, the shortest way there is: a spare, an optimistic Hello, or the hello race.
import { Deadline } from '../../base/async/deadline.ts';
import type { Logger } from '../../base/log.ts';
import { compressed } from '../../compression/stream.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { stagesFor, type Candidate, type Stage } from '../../hello/candidates.ts';
import type { HelloOptions } from '../../hello/handshake.ts';
import type { ProtocolCache } from '../../hello/protocol-cache.ts';
import { type Greeting, type HelloCache, type CachedHello } from '../../hello/hello-cache.ts';
import { OptimisticStream, type OptimisticOptions } from '../../hello/optimistic.ts';
import { helloOpening, pingOpening } from '../../hello/expected-answer.ts';
import { detectProtocol, type Detected } from '../../hello/detection.ts';
import { Incompatible } from '../../hello/detection-error.ts';
import type { Upstreams } from './upstreams.ts';
import type { Connections } from './connections.ts';
import { endGracefully } from '../../transport/end.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import { asFailure, revive } from '../../errors/fail.ts';
import { defaultContract } from '../../bmux-ipc/ipc.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import { askedFor, type Plan } from '../../engine-protocol/plan.ts';
import type { UpstreamSpares, HandedOut } from './upstream-spares.ts';
import type { Opened } from './opened.ts';
import type { OpenedTransport, Transports } from './transports.ts';

export interface OpenDeps {
  readonly transports: Transports;
  readonly protocolCache: ProtocolCache;
  readonly helloCache: HelloCache;
  readonly spares: UpstreamSpares;
  readonly connections: Connections;
  readonly upstreams: Upstreams;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
}

/** Opens the stream of `plan` within its budget. Rejects with the failure that the user should read. */
export async function openStream(plan: Plan, deps: OpenDeps, signal: AbortSignal): Promise<Opened> {
  const { route } = plan.destination;
  const address = addressOf(route);
  const epoch = plan.client.contract?.epoch ?? deps.protocolCache.get(address)?.epoch;
  // A local server is no round trip away: nothing is gained by promising for it.
  const greeting = route.transport === 'local' || epoch === undefined ? undefined : greetingOf(plan, epoch);
  if (greeting === undefined) return openByDetection(plan, deps, signal);
  const deadline = new Deadline(plan.budgetMs);
  // Half of the time is for the way that is gone when there is no spare.
  const spare = await deps.spares.take(plan, greeting, plan.budgetMs / 2);
  if (spare !== undefined) return openOnSpare(plan, greeting, spare, deps, signal);
  const left: Plan = { ...plan, budgetMs: Math.max(1, deadline.remaining()) };
  const remembered = deps.helloCache.get(address, greeting);
  if (remembered === undefined) return openByDetection(left, deps, signal);
  return deps.upstreams.opening(left, () => openOptimistic(left, greeting, remembered, deps, signal));
}

/** A spare was proven seconds ago; whether its way is still there shows with the first answer. */
function openOnSpare(
  plan: Plan,
  greeting: Greeting,
  spare: HandedOut,
  deps: OpenDeps,
  signal: AbortSignal,
): Opened {
  const { candidate, negotiated, pending } = spare;
  if (signal.aborted) {
    deps.transports.end(endGracefully(spare.stream));
    throw asFailure(signal.reason);
  }
  const { epoch } = candidate;
  const remembered = deps.helloCache.get(plan.destination.address, greeting)?.roundTripMs ?? 0;
  const aheadMs = pending === undefined ? 0 : performance.now() - pending.since;
  const stream = optimistic(plan, deps, {
    inner: spare.stream,
    epoch,
    opening: pingOpening(epoch, pending),
    expected: negotiated,
    answerMs: answerMs(plan, spare.roundTripMs ?? remembered),
    onConfirmed: (elapsedMs) => {
      deps.upstreams.answered(plan, aheadMs + elapsedMs);
    },
  });
  return { stream, candidate, negotiated, warm: true };
}

/** A stream whose promise, when it is broken, is told to everybody, and kept by a fresh stream where that may be. */
function optimistic(
  plan: Plan,
  deps: OpenDeps,
  options: Pick<OptimisticOptions, 'inner' | 'epoch' | 'opening' | 'expected' | 'answerMs' | 'onConfirmed'>,
): OptimisticStream {
  const { destination } = plan;
  const { requestId } = plan.client;
  const address = destination.address;
  return new OptimisticStream({
    ...options,
    label: destination.label,
    onFailed: (failure) => {
      deps.helloCache.forget(address);
      deps.spares.drop(address);
      deps.upstreams.broken(plan, failure.data);
      const said = { target: askedFor(destination), requestId, code: failure.code, detail: failure.message };
      deps.log.warn({ ...said, address }, 'optimistic open failed');
      deps.event({ type: 'optimistic open failed', ...said });
    },
    // The request itself is over by now; what is asked again has a budget of its own.
    reopen: (gone) => openByDetection({ ...plan, budgetMs: destination.connectTimeoutMs }, deps, gone),
    end: (ending) => {
      deps.transports.end(endGracefully(ending, LIMITS.endMs));
    },
  });
}

/** ms that a promised answer may take: what it took before says how long that is, and never longer than a Hello that is waited for. */
function answerMs({ destination }: Plan, roundTripMs: number): number {
  return Math.min(destination.connectTimeoutMs, Math.max(LIMITS.hedgeMs, 4 * roundTripMs));
}

/** The Hello of this plan in one epoch; undefined when there is no principal for it. */
function greetingOf(plan: Plan, epoch: Epoch): Greeting | undefined {
  if ('failure' in plan.client.principal) return undefined;
  const usual = defaultContract(epoch);
  const asked = plan.client.contract?.epoch === epoch ? plan.client.contract : undefined;
  return {
    contract: {
      epoch,
      revisions: asked?.revisions ?? usual.revisions,
      capabilities: asked?.capabilities ?? usual.capabilities,
    },
    clientName: plan.client.name,
    principalId: plan.client.principal.id,
  };
}

/** Hello and the first request leave in one flight; the server's answer is compared with what it said before. */
async function openOptimistic(
  plan: Plan,
  greeting: Greeting,
  { candidate, negotiated, roundTripMs }: CachedHello,
  deps: OpenDeps,
  signal: AbortSignal,
): Promise<Opened> {
  const address = plan.destination.address;
  const since = performance.now();
  const { stream: inner, warm } = await openTransport(
    plan,
    candidate,
    new Deadline(plan.budgetMs),
    deps,
    signal,
  );
  const dialMs = performance.now() - since;
  const stream = optimistic(plan, deps, {
    inner,
    epoch: candidate.epoch,
    opening: helloOpening(candidate.epoch, greeting, negotiated),
    expected: negotiated,
    answerMs: answerMs(plan, roundTripMs),
    onConfirmed: (elapsedMs) => {
      deps.helloCache.store(address, greeting, { candidate, negotiated, roundTripMs: elapsedMs });
      deps.upstreams.answered(plan, elapsedMs);
      deps.spares.used(plan, greeting, dialMs + elapsedMs, elapsedMs);
    },
  });
  return { stream, candidate, negotiated, warm };
}

/** Asks the server itself: what is known first, everything else beside it when that does not answer. */
export function openByDetection(
  plan: Plan,
  deps: OpenDeps,
  signal: AbortSignal,
  only?: Stage,
): Promise<Opened> {
  return deps.upstreams.opening(plan, () => detectFor(plan, deps, signal, only));
}

async function detectFor(plan: Plan, deps: OpenDeps, signal: AbortSignal, only?: Stage): Promise<Opened> {
  const { destination } = plan;
  const { route, label } = destination;
  const address = addressOf(route);
  const deadline = new Deadline(plan.budgetMs);
  const wanted = plan.client.contract?.epoch;
  const known = deps.protocolCache.get(address);
  const since = performance.now();
  let warm = true;
  let won: Detected;
  try {
    won = await detectProtocol({
      stages: only === undefined ? stagesFor(destination, known, wanted) : [only],
      wanted,
      deadline,
      signal,
      // Whoever leaves waits for it: an attempt that the leaving itself has struck down has not begun to end its stream yet.
      givenUp: (ending) => {
        deps.transports.end(ending);
      },
      subject: {
        label,
        runtime: plan.destination.runtime,
        mayWantAuth: route.transport === 'iroh' && !route.sshAuth,
      },
      open: async (candidate, attemptSignal) => {
        const opened = await openTransport(plan, candidate, deadline, deps, attemptSignal);
        warm &&= opened.warm;
        return opened;
      },
      hello: (candidate) => helloFor(plan, candidate, deadline),
      end: (stream) => {
        const ended = endGracefully(stream, LIMITS.endMs);
        deps.transports.end(ended);
        return ended;
      },
    });
  } catch (error) {
    // What was promised for this server so far is promised no more, unless it was the caller's own doing.
    const own = error instanceof Incompatible || 'failure' in plan.client.principal || signal.aborted;
    if (!own && only === undefined) {
      deps.helloCache.forget(address);
      // A full server hangs up: what is held there for nobody is not to stand in the way of who tries again.
      if (asFailure(error).code === 'connection_lost') deps.spares.drop(address);
    }
    throw error;
  }
  const { candidate, negotiated, elapsedMs } = won;
  deps.upstreams.answered(plan, elapsedMs);
  deps.protocolCache.record(address, candidate);
  deps.log.debug(
    { requestId: plan.client.requestId, address, ...candidate, helloMs: elapsedMs },
    'hello answered',
  );
  const greeting = greetingOf(plan, candidate.epoch);
  if (greeting !== undefined && route.transport !== 'local') {
    deps.helloCache.store(address, greeting, { candidate, negotiated, roundTripMs: elapsedMs });
    if (only === undefined) deps.spares.used(plan, greeting, performance.now() - since, elapsedMs);
  }
  return { stream: won.stream, candidate, negotiated, warm };
}

/** An authenticated stream in the candidate's compression, counted as a place from the beginning of the dial; spares make room for it. */
export async function openTransport(
  plan: Plan,
  candidate: Candidate,
  deadline: Deadline,
  deps: Pick<OpenDeps, 'transports' | 'connections' | 'spares'>,
  signal: AbortSignal,
): Promise<OpenedTransport> {
  const { route, label, link } = plan.destination;
  const address = addressOf(route);
  const dialled = deps.connections.dial(address);
  deps.spares.makeRoom(address);
  try {
    const opened = await deps.transports.open(route, { label, link, deadline, signal });
    deps.connections.hold(address, opened.stream);
    return candidate.compression === 'zstd' ? { ...opened, stream: compressed(opened.stream) } : opened;
  } finally {
    dialled();
  }
}

/** The Hello of one candidate. The principal is looked at here, last of all, as the seed does (spec/behaviour.md §9). */
function helloFor(plan: Plan, candidate: Candidate, deadline: Deadline): HelloOptions {
  const greeting = greetingOf(plan, candidate.epoch);
  if (greeting === undefined)
    throw 'failure' in plan.client.principal
      ? revive(plan.client.principal.failure)
      : new Error('no principal');
  return { epoch: candidate.epoch, ...greeting, timeoutMs: deadline.remaining() };
}
