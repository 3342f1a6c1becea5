// What a client is told about its stream: what was opened, or why nothing was.
import type { StreamInfo } from '../../api/answers.ts';
import type { Failure } from '../../base/failure.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { warningsOf, type Plan } from '../../engine-protocol/plan.ts';
import { advised } from '../../errors/fail.ts';
import type { OpenedStream } from '../upstream/dialler.ts';

export function infoOf(id: string, plan: Plan, opened: OpenedStream): StreamInfo {
  const { label, route } = plan.destination;
  return {
    id,
    target: withoutCredentials(label),
    transport: route.transport,
    epoch: opened.candidate.epoch,
    negotiated: { revision: opened.negotiated.revision, capabilities: opened.negotiated.capabilities },
    warm: opened.warm,
    warnings: warningsOf(plan),
  };
}

/** A gateway that is not trusted here may be trusted by roots that the caller's environment names. */
export function withOtherRoots(failure: Failure, { client: { otherRoots } }: Plan): Failure {
  if (otherRoots === undefined || !UNTRUSTED.has(failure.code)) return failure;
  const what = `${otherRoots.join(' and ')} of this command does not count: bmuxd reads its own environment.`;
  return advised(failure, `${failure.data.remedy} ${what} Start bmuxd with it, or set ca_file.`);
}

const UNTRUSTED: ReadonlySet<string> = new Set(['tls_handshake_failed', 'tls_roots_missing']);

/** Failures that mean "no server there" for `ifRunning`. A time-out stays an error (docs/bmux-protocol.md, "Entry points"). */
export const NOTHING_THERE: ReadonlySet<string> = new Set([
  'server_not_running',
  'tls_unreachable',
  'iroh_unreachable',
  'ssh_host_unknown',
  'ssh_unreachable',
  'ssh_server_not_running',
]);
