// Makes one failure, which the user reads, from the outcomes of all attempts.
import { Failure } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import type { IncompatibilityReason } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { Destination } from '../engine-protocol/plan.ts';
import type { Outcome } from './attempt.ts';
import type { HelloOutcome } from './handshake.ts';

/** The facts about the request that the error texts name. */
export interface DetectionSubject {
  readonly label: string;
  readonly runtime: Destination['runtime'];
  /** True for an iroh route without SSH auth: silence may mean that the host demands it (docs/bmux-protocol.md, SSH auth). */
  readonly mayWantAuth: boolean;
}

/** A refused contract, with the reason from the server's answer. */
export class Incompatible extends Failure {
  readonly reason: IncompatibilityReason;

  constructor(reason: IncompatibilityReason) {
    super(failureOf(reason).data);
    this.reason = reason;
  }
}

/** The failure of an incompatibility, with the text of bmux. */
function failureOf(reason: IncompatibilityReason): Failure {
  switch (reason.type) {
    case 'wire_epoch_mismatch':
      return fail('wire_epoch_mismatch', { client: reason.client, server: reason.server });
    case 'no_common_revision':
      return fail('revision_mismatch', {
        clientMin: reason.clientMin,
        clientMax: reason.clientMax,
        serverMin: reason.serverMin,
        serverMax: reason.serverMax,
      });
    case 'missing_core_capabilities':
      return fail('capabilities_missing', { list: reason.missing.join(', ') });
  }
}

/** The failure when the caller speaks only epoch `client`, and the server has answered in epoch `server`. */
export function epochMismatch(client: Epoch, server: Epoch): Failure {
  return new Incompatible({ type: 'wire_epoch_mismatch', client, server });
}

/** The failure of a Hello that was refused, got no valid answer, or got none within `elapsedMs`. */
export function detectionError(
  outcome: Exclude<HelloOutcome, { type: 'negotiated' }>,
  subject: DetectionSubject,
  elapsedMs: number,
): Failure {
  // A host that wants SSH auth answers no Hello before.
  const mayWantAuth = subject.mayWantAuth && !('answeredBefore' in outcome);
  switch (outcome.type) {
    case 'incompatible':
      return new Incompatible(outcome.reason);
    case 'refused':
      return outcome.code === 'version_mismatch'
        ? fail('protocol_mismatch')
        : fail('hello_refused', { message: outcome.message });
    case 'other version':
      return fail('protocol_mismatch');
    case 'malformed':
      return fail('peer_malformed', { label: subject.label, why: outcome.why });
    case 'ended':
      // A host that demands SSH auth takes the first stream for the auth stream, and closes the connection on a Hello.
      return fail(outcome.broken === true && mayWantAuth ? 'hello_closed_auth' : 'connection_lost', {
        runtime: subject.runtime.name,
        socket: subject.runtime.socket,
      });
    case 'told':
      return outcome.failure;
    case 'alert':
      return fail('tls_alert', { label: subject.label, name: outcome.name });
    case 'silent':
      if (outcome.doubtful === true) return fail('iroh_silent', { label: subject.label });
      return fail(mayWantAuth ? 'hello_silent_auth' : 'hello_timeout', {
        label: subject.label,
        ms: Math.round(elapsedMs),
      });
  }
}

/** Outcome types in the order in which one is chosen for the failure. An end shows that the server runs; silence shows nothing. */
const PREFERRED: readonly HelloOutcome['type'][] = ['ended', 'malformed', 'silent'];

/** The failure of a detection in which no attempt was negotiated or refused. An attempt without an outcome counts as silent. */
export function finalDetectionError(
  outcomes: readonly (Outcome | undefined)[],
  subject: DetectionSubject,
  elapsedMs: number,
): Failure {
  for (const type of PREFERRED) {
    const found = outcomes.find((outcome) => outcome?.type === type);
    if (found !== undefined && 'failure' in found) return found.failure;
    if (found !== undefined && found.type !== 'negotiated') return detectionError(found, subject, elapsedMs);
  }
  const noStream = outcomes.find((outcome) => outcome?.type === 'no stream');
  if (noStream?.type === 'no stream') return noStream.failure;
  return detectionError({ type: 'silent' }, subject, elapsedMs);
}
