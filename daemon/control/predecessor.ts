// The daemon that `bmuxd run --replace` takes over from: what is warm there is warmed here before the switch.
import { sleep } from '../base/async/sleep.ts';
import { LIMITS } from '../base/limits.ts';
import { isStatus } from '../api/answer-shapes.ts';
import type { UpstreamRow } from '../api/answers.ts';
import type { OneToEngine } from '../engine-protocol/messages.ts';
import type { Plan } from '../engine-protocol/plan.ts';
import { httpRequest } from '../sockets/http-request.ts';

/** ms between two looks whether all are warm. */
const LOOK_MS = 50;

export interface PredecessorOptions {
  /** Where the other daemon answers until the switch. */
  readonly instanceSocket: string;
  readonly planFor: (target: string) => Promise<Plan>;
  readonly tell: (message: OneToEngine) => void;
  /** The upstreams of the own engine. */
  readonly upstreams: () => Promise<readonly UpstreamRow[]>;
}

/** Resolves when what is warm at the other daemon is warm here, or after `LIMITS.warmLikeMs`. Never rejects. */
export async function warmLikePredecessor(options: PredecessorOptions): Promise<void> {
  const { instanceSocket, planFor, tell, upstreams } = options;
  const until = performance.now() + LIMITS.warmLikeMs;
  const rows = (await statusOf(instanceSocket)).filter((row) => row.warm && row.transport !== 'local');
  const addresses = new Set<string>();
  const warm = async ({ target, address }: UpstreamRow): Promise<void> => {
    const plan = await planFor(target);
    // A target of another context may have the same name.
    if (plan.destination.address !== address) return;
    addresses.add(address);
    tell({ type: 'warm', plan });
  };
  await Promise.allSettled(rows.map(warm));
  while (addresses.size > 0 && performance.now() < until) {
    for (const row of await upstreams().catch(() => [])) if (row.warm) addresses.delete(row.address);
    if (addresses.size > 0) await sleep(LOOK_MS);
  }
}

async function statusOf(socketPath: string): Promise<readonly UpstreamRow[]> {
  const question = { socketPath, method: 'GET', path: '/v1/status', timeoutMs: LIMITS.statusMs } as const;
  const answer = await httpRequest(question).catch(() => undefined);
  return isStatus(answer?.body) ? answer.body.upstreams : [];
}
