// A Node process that does nothing but wake up, to measure what Node itself uses. With a route it holds a warm connection of the iroh binding.
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';

export interface IdleOptions {
  readonly route?: IrohRoute;
  /** ms between two calls of a timer; a minute without it. */
  readonly everyMs?: number;
}

const DIAL_MS = 20_000;
const { route, everyMs = 60_000 } = JSON.parse(process.argv[2] ?? '{}') as IdleOptions;
/** Garbage collection would close it. */
const held: unknown[] = [];
if (route !== undefined) {
  // Without a route nothing is loaded that takes memory.
  const { IrohEndpoint } = await import('../../daemon/transport/iroh/endpoint.ts');
  const { Deadline } = await import('../../daemon/base/async/deadline.ts');
  const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
  const dialling = { deadline: new Deadline(DIAL_MS), signal: AbortSignal.timeout(DIAL_MS) };
  held.push(endpoint, await endpoint.connect(route, 'idle', dialling));
}
setInterval(() => held.length, everyMs);
process.stdout.write('{}\n');
