// The engines of the daemon that was here before: what is warm there is warmed here before the switch, and what was used there is tried once.
import { sleep } from '../base/async/sleep.ts';
import { inTime, settledWithin } from '../base/async/deadline.ts';
import type { UpstreamRow } from '../api/answers.ts';
import type { OneToEngine } from '../engine-protocol/messages.ts';
import type { Plan } from '../engine-protocol/plan.ts';

/** ms between two looks whether all are ready. */
const LOOK_MS = 20;
/** Servers that are tried, the latest used first. */
const MAX_TRIED = 8;

export interface PredecessorOptions {
  /** What the engines of the other daemon know of their servers. */
  readonly former: () => Promise<readonly UpstreamRow[]>;
  /** Resolves when the own engine takes messages, or has failed to start. */
  readonly tried: Promise<void>;
  readonly planFor: (target: string) => Promise<Plan>;
  readonly tell: (message: OneToEngine) => void;
  /** The upstreams of the own engine. */
  readonly upstreams: () => Promise<readonly UpstreamRow[]>;
  /** ms that the answers of the former engines may take, and that the servers may take then. */
  readonly limitMs: number;
}

/** A server that the own engine is to be ready for, and by which of its rows that is seen. */
interface Wanted {
  readonly row: UpstreamRow;
  readonly type: 'warm' | 'try';
  readonly isReady: (now: UpstreamRow) => boolean;
}

/**
 * Resolves when the own engine is as ready as the former ones, or at the limit. The first stream of a process takes 100 ms and more, for code that
 * is loaded then: the stream of a trial takes that time in place of a client's. Never rejects.
 */
export async function warmLikePredecessor(options: PredecessorOptions): Promise<void> {
  const { former, tried, limitMs } = options;
  const rows = await inTime(former(), limitMs, () => new Error('late')).catch(() => []);
  const wanted = wantedOf(rows.filter(({ state }) => state !== 'failing'));
  if (wanted.length === 0) return;
  await tried;
  const until = performance.now() + limitMs;
  const pending = new Map<string, Wanted['isReady']>();
  await settledWithin(Promise.allSettled(wanted.map((one) => begin(one, pending, options))), limitMs);
  while (pending.size > 0 && performance.now() < until) {
    for (const row of await options.upstreams().catch(() => []))
      if (row.state === 'failing' || pending.get(row.address)?.(row) === true) pending.delete(row.address);
    if (pending.size > 0) await sleep(LOOK_MS);
  }
}

async function begin(
  { row: { target, address }, type, isReady }: Wanted,
  pending: Map<string, Wanted['isReady']>,
  { planFor, tell }: PredecessorOptions,
): Promise<void> {
  const plan = await planFor(target);
  // A target of another context may have the same name.
  if (plan.destination.address !== address) return;
  pending.set(address, isReady);
  tell({ type, plan });
}

/** A login over SSH, or an iroh dial, may ask a person something: only those that are warm are made again. */
function wantedOf(rows: readonly UpstreamRow[]): readonly Wanted[] {
  const isWarm = (row: UpstreamRow): boolean => row.warm && row.transport !== 'local';
  const warm = rows.filter(isWarm);
  const used = rows
    .filter((row) => !isWarm(row) && row.lastStreamMs !== undefined)
    .filter(({ transport }) => transport === 'local' || transport === 'tls')
    .sort((a, b) => (b.lastStreamMs ?? 0) - (a.lastStreamMs ?? 0));
  const known = new Set(warm.map(({ address }) => address));
  const others = used.filter(({ address }) => !known.has(address) && known.add(address)).slice(0, MAX_TRIED);
  return [
    ...warm.map((row) => ({ row, type: 'warm', isReady: (now: UpstreamRow) => now.warm }) as const),
    ...others.map((row) => ({ row, type: 'try', isReady: hasStream }) as const),
  ];
}

function hasStream({ lastStreamMs }: UpstreamRow): boolean {
  return lastStreamMs !== undefined;
}
