// A client of a target socket: reads how it begins, and makes of it what a request on the control socket would be.
import type { Socket } from 'node:net';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import { asFailure } from '../../errors/fail.ts';
import { classOf } from '../../errors/error-class.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import { helloClient, closeLingering, rawClient, type AcceptedClient } from './client.ts';
import { readFirstFrame } from './first-frame.ts';
import type { OpenedStream } from '../upstream/dialler.ts';
import { UNREACHABLE } from '../upstream/health.ts';
import type { Upstreams } from '../upstream/upstreams.ts';

/** A caller with the plan for it, and how its stream is opened where that is not the usual way. */
export interface Accepted {
  readonly client: AcceptedClient;
  readonly plan: Plan;
  readonly open?: Open;
}

/** `leadsTo` is told of another plan that is followed instead: what becomes of it belongs to that one. */
export type Open = (
  plan: Plan,
  upstreams: Upstreams,
  signal: AbortSignal,
  leadsTo: (plan: Plan) => void,
) => Promise<OpenedStream>;

export const openStream: Open = (plan, upstreams, signal) =>
  upstreams.for(plan.destination).open(plan, signal);

/** Resolves with what the client asks for; undefined when it left, or said nothing in time. `head`: what was read of it already. */
export async function acceptedFrom(socket: Socket, plan: Plan, head: Buffer): Promise<Accepted | undefined> {
  if (head.length > 0) socket.unshift(head);
  const first = await readFirstFrame(socket);
  switch (first.type) {
    case 'gone':
      closeLingering(socket);
      return undefined;
    case 'hello': {
      const { epoch, contract, clientName, principalId, rest } = first;
      const { revisions, capabilities } = contract;
      return {
        client: helloClient(socket, rest, first),
        plan: {
          ...plan,
          client: {
            ...plan.client,
            name: clientName,
            principal: { id: principalId },
            contract: { epoch, revisions, capabilities: [...capabilities] },
          },
        },
      };
    }
    case 'other': {
      const { epoch, bytes } = first;
      return {
        client: rawClient(socket, bytes),
        plan,
        open: (asked, upstreams, signal) => upstreams.for(asked.destination).openRaw(asked, epoch, signal),
      };
    }
  }
}

/**
 * The same, tried once more when control knows another way by then; all within one budget (docs/bmux-protocol.md, "Budget"). Where a share link leads is
 * asked before a dial (an iroh host is a new endpoint at each start), and not where none is needed.
 */
function withRenewal(asked: Accepted, renew: () => Promise<Destination | undefined>): Accepted {
  const { open = openStream } = asked;
  return {
    ...asked,
    open: async (first, upstreams, signal, leadsTo) => {
      const deadline = new Deadline(first.budgetMs);
      const { link, route } = first.destination;
      const upstream = upstreams.for(first.destination);
      const isWarm = upstream.isWarm(route);
      const ready = upstream.isReady(route);
      const renewed = (ms: number): Promise<Destination | undefined> =>
        inTime(renew(), ms, () => new Error('late')).catch(() => undefined);
      // Half of the time at most: the way that is known may be the right one.
      const known = link !== undefined && !ready ? await renewed(deadline.remaining() / 2) : undefined;
      // A warm way may be gone: then there must be time for where the link leads by now.
      const halved = link !== undefined && isWarm;
      const budgetMs = Math.max(1, deadline.remaining() / (halved ? 2 : 1));
      const plan = { ...first, destination: known ?? first.destination, budgetMs };
      if (known !== undefined) leadsTo(plan);
      try {
        return await open(plan, upstreams, signal, leadsTo);
      } catch (error) {
        if (!(error instanceof Failure) || signal.aborted) throw error;
        const cut = halved && classOf(error.data) === 'timeout';
        if (!cut && !UNREACHABLE.has(error.code)) throw error;
        // Asked also when no time is left for it: the next client has the answer.
        const fresh = await renewed(deadline.remaining());
        const left = deadline.remaining();
        const leads = fresh !== undefined && fresh.address !== plan.destination.address;
        if (left === 0 || !(leads || cut)) throw error;
        const other = { ...plan, destination: leads ? fresh : plan.destination, budgetMs: left };
        leadsTo(other);
        return open(other, upstreams, signal, leadsTo);
      }
    },
  };
}

/** Serves a client of a target socket: it speaks the server's protocol from its first byte, and nothing of it has been read. */
export function greet(
  socket: Socket,
  plan: Plan,
  options: {
    readonly renew: () => Promise<Destination | undefined>;
    readonly add: (accepted: Accepted) => void;
    readonly log: Logger;
  },
): void {
  acceptedFrom(socket, plan, Buffer.alloc(0)).then(
    (accepted) => {
      if (accepted !== undefined) options.add(withRenewal(accepted, options.renew));
    },
    (error: unknown) => {
      options.log.error({ err: asFailure(error).data }, 'target socket');
      socket.destroy();
    },
  );
}
