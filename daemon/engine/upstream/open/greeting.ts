// The Hello of a plan, and the time limit for its answer.
import { LIMITS } from '../../../base/limits.ts';
import type { Epoch } from '../../../bmux-ipc/epoch.ts';
import { defaultContract } from '../../../bmux-ipc/ipc.ts';
import type { Plan } from '../../../engine-protocol/plan.ts';
import { revive } from '../../../errors/fail.ts';
import type { Greetings } from '../../../hello/attempt.ts';
import type { Greeting } from '../../../hello/hello-cache.ts';

/** The Hello of this plan in one epoch; undefined when the client has no principal. */
export function greetingOf({ client }: Plan, epoch: Epoch): Greeting | undefined {
  if ('failure' in client.principal) return undefined;
  return greeting(client.name, client.principal.id, epoch, client.contract);
}

/** The Hello of this plan in each epoch, or the failure when the client has no principal. */
export function greetingsOf({ client }: Plan): Greetings {
  const { name, principal, contract } = client;
  if ('failure' in principal) return { failure: revive(principal.failure) };
  return { 3: greeting(name, principal.id, 3, contract), 4: greeting(name, principal.id, 4, contract) };
}

/** When an expected answer is late: after four round trips, at least LIMITS.hedgeMs. It is waited for no longer than for a connection. */
export function answerTimes(
  { destination }: Plan,
  roundTripMs: number,
): { readonly answerMs: number; readonly limitMs: number } {
  const limitMs = destination.connectTimeoutMs;
  return { answerMs: Math.min(limitMs, Math.max(LIMITS.hedgeMs, 4 * roundTripMs)), limitMs };
}

/** The contract of a client is for one epoch. In the other epoch its Hello has the default contract. */
function greeting(
  clientName: string,
  principalId: string,
  epoch: Epoch,
  contract: Plan['client']['contract'],
): Greeting {
  const usual = defaultContract(epoch);
  const own = contract?.epoch === epoch ? contract : undefined;
  return {
    contract: {
      epoch,
      revisions: own?.revisions ?? usual.revisions,
      capabilities: own?.capabilities ?? usual.capabilities,
    },
    clientName,
    principalId,
  };
}
