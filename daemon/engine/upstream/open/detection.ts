// Opens a stream by protocol detection: the Hello is answered by the server before the stream is handed out.
import { Deadline } from '../../../base/async/deadline.ts';
import type { Logger } from '../../../base/log.ts';
import type { Destination, Plan } from '../../../engine-protocol/plan.ts';
import { asFailure } from '../../../errors/fail.ts';
import { stagesFor, type Stage } from '../../../hello/candidates.ts';
import { Incompatible, type DetectionSubject } from '../../../hello/detection-error.ts';
import { detectProtocol } from '../../../hello/detection.ts';
import type { HelloCache } from '../../../hello/hello-cache.ts';
import type { ProtocolEntry } from '../../../hello/protocol-cache.ts';
import type { OpenedStream, Progress, UpstreamDialler } from '../dialler.ts';
import type { GracefulEnds } from '../transports.ts';
import { greetingOf, greetingsOf } from './greeting.ts';
import type { ServerHealth } from '../targets/health.ts';
import type { References } from '../targets/references.ts';
import type { UpstreamSpares } from '../upstream-spares.ts';

/** The members of an upstream with which a stream is opened. */
export interface UpstreamParts {
  readonly address: string;
  readonly dialler: UpstreamDialler;
  readonly protocol: ProtocolEntry;
  readonly helloCache: HelloCache;
  readonly health: ServerHealth;
  readonly references: References;
  readonly spares: UpstreamSpares;
  readonly ends: GracefulEnds;
  readonly log: Logger;
}

interface DetectionOptions {
  /** The candidates that are tried, for a spare. */
  readonly only?: Stage;
  readonly progress?: Progress | undefined;
  /** A server that was there is asked for again when it is gone. */
  readonly mayAskAgain?: boolean;
}

/**
 * Tries the cached candidate first, and all others beside it when it does not answer.
 * Rejects with the failure that the user reads.
 */
export async function openByDetection(
  parts: UpstreamParts,
  plan: Plan,
  signal: AbortSignal,
  { only, progress, mayAskAgain = only === undefined }: DetectionOptions = {},
): Promise<OpenedStream> {
  const { destination } = plan;
  const { address, protocol, helloCache, health, spares, ends } = parts;
  const over = parts.references.open(destination);
  const since = performance.now();
  const deadline = new Deadline(plan.budgetMs);
  const wanted = plan.client.contract?.epoch;
  const dialler = parts.dialler.for(destination, deadline, progress);
  try {
    const epochHint = await dialler.epochHint(signal);
    const hinted = { ...destination, ...(epochHint === undefined ? {} : { epochHint }) };
    const all = only === undefined ? stagesFor(hinted, protocol.candidate, wanted) : [only];
    const likely = health.lacksZstd ? all.flatMap(byMode) : all;
    const stages = health.hasRefused ? firstAlone(likely) : likely;
    const { stream, candidate, negotiated, elapsedMs, hasMoved, pinned } = await detectProtocol({
      stages,
      wanted,
      deadline,
      signal,
      subject: subjectOf(destination),
      opener: dialler,
      greetings: greetingsOf(plan),
      ends,
    });
    health.answered(elapsedMs);
    protocol.record(candidate);
    const { requestId } = plan.client;
    parts.log.debug({ requestId, address, ...candidate, helloMs: elapsedMs }, 'hello answered');
    const greeting = greetingOf(plan, candidate.epoch);
    if (greeting !== undefined && destination.route.transport !== 'local') {
      helloCache.store(greeting, { candidate, negotiated, roundTripMs: elapsedMs });
      if (only === undefined) spares.used(plan, greeting, performance.now() - since, elapsedMs, pinned);
    }
    return { stream, candidate, negotiated, warm: dialler.warm, hasMoved };
  } catch (error) {
    // The hello cache is cleared, unless the caller has caused the failure.
    const own = error instanceof Incompatible || 'failure' in plan.client.principal || signal.aborted;
    const { code } = asFailure(error);
    if (code === 'zstd_unavailable') health.lackedZstd();
    if (code === 'tls_alert') health.refused();
    // The server there may have been stopped since it was asked for: it is asked, and started, again.
    if (!own) dialler.forget();
    if (!own && mayAskAgain && dialler.warm && MAY_BE_GONE.has(code)) {
      const again = { ...plan, budgetMs: deadline.remaining() };
      return await openByDetection(parts, again, signal, { progress, mayAskAgain: false });
    }
    if (!own && only === undefined) {
      helloCache.clear();
      // A full server closes the stream. Spares must not hold the connections that the next attempt needs.
      if (code === 'connection_lost') spares.drop();
    }
    throw error;
  } finally {
    over();
  }
}

/**
 * The compressed candidates alone first, where no zstd loads and the gateway was found to compress. Each request comes to that again, and a
 * Hello without compression would take a connection of the server until its handshake limit.
 */
function byMode(stage: Stage): Stage[] {
  const [compressed, plain] = (['zstd', 'none'] as const).map((mode) =>
    stage.filter(({ compression }) => compression === mode),
  );
  return [compressed ?? [], plain ?? []].filter(({ length }) => length > 0);
}

/** One connection shows whether a gateway that has refused the last one still does so. */
function firstAlone([first = [], ...later]: readonly Stage[]): Stage[] {
  return [first.slice(0, 1), first.slice(1), ...later].filter(({ length }) => length > 0);
}

/** Failures of a bridge whose server may have been stopped. */
const MAY_BE_GONE: ReadonlySet<string> = new Set([
  'ssh_server_not_running',
  'ssh_server_ended',
  'ssh_bridge_failed',
]);

function subjectOf({ label, runtime, route }: Destination): DetectionSubject {
  return { label, runtime, mayWantAuth: route.transport === 'iroh' && !route.sshAuth };
}
