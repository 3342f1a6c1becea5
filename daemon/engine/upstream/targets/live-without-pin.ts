// Which live streams were opened by the pin of a gateway that does not count any more. They go on, and their user should know.
import type { Failure } from '../../../base/failure.ts';
import type { TrustChange } from '../../../engine-protocol/messages.ts';
import type { Plan } from '../../../engine-protocol/plan.ts';
import { fail } from '../../../errors/fail.ts';
import { gatewayKey } from '../../../target/tls-trust.ts';

/** Streams of a gateway that are named. */
const NAMED_MAX = 20;

/** One failure for each gateway that has such streams. */
export function liveWithoutPin(
  live: readonly { readonly id: string; readonly plan: Pick<Plan, 'destination'> }[],
  { store, gateways }: TrustChange,
): Failure[] {
  const found = new Map<string, string[]>();
  for (const { id, plan } of live) {
    const { route } = plan.destination;
    if (route.transport !== 'tls' || route.trust?.store !== store) continue;
    const key = gatewayKey(route.host, route.port);
    if (!gateways.includes(key)) continue;
    const ids = found.get(key);
    if (ids === undefined) found.set(key, [id]);
    else ids.push(id);
  }
  return [...found].map(([key, ids]) => {
    const more = ids.length > NAMED_MAX ? ` and ${String(ids.length - NAMED_MAX)} more` : '';
    return fail('pin_gone_live', { key, streams: `${ids.slice(0, NAMED_MAX).join(', ')}${more}` });
  });
}
