// A client of a target socket: reads its first frame, and makes the same kind of accepted client of it as a request on `streams.sock`.
import type { Socket } from 'node:net';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { Slices } from '../../base/async/slices.ts';
import { asFailure } from '../../errors/fail.ts';
import { closeLingering } from '../../sockets/accepted-socket.ts';
import type { IdleConnections } from '../../sockets/idle-connections.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import { helloClient, rawClient, type AcceptedClient } from './client.ts';
import type { RequestWait } from './request-wait.ts';
import { readFirstFrame } from './first-frame.ts';
import type { OpenedStream, Progress } from '../upstream/dialler.ts';
import { UNREACHABLE } from '../upstream/targets/health.ts';
import type { Upstreams } from '../upstream/upstreams.ts';

/** A client and the plan for it. `open` replaces `openAsPlanned` where the stream is opened in another way. */
export interface Accepted {
  readonly client: AcceptedClient;
  readonly plan: Plan;
  readonly open?: Open;
  /** The wait of a request; that of another client begins with its stream. */
  readonly wait?: RequestWait;
  /** With it the request is given up. */
  readonly abort?: AbortController;
  /** Those of the work that has been done for the request already. */
  readonly slices?: Slices;
}

/** Opens the stream of a plan. Calls `leadsTo` when it uses another plan instead; later results and failures belong to that plan. */
export type Open = (
  plan: Plan,
  upstreams: Upstreams,
  signal: AbortSignal,
  leadsTo: (plan: Plan) => void,
  progress: Progress,
) => Promise<OpenedStream>;

export const openAsPlanned: Open = (plan, upstreams, signal, _, progress) =>
  upstreams.for(plan.destination).open(plan, signal, progress);

/** The exit status of all failures whose time was over. */
const OUT_OF_TIME = 7;

/** Resolves with the client and its plan; undefined when it left, or sent nothing in time. `head`: bytes already read from the socket. */
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
            toldByAnswer: true,
          },
        },
      };
    }
    case 'other': {
      const { epoch, bytes } = first;
      return {
        client: rawClient(socket, bytes),
        plan,
        open: (asked, upstreams, signal, _, progress) =>
          upstreams.for(asked.destination).openRaw(asked, epoch, { signal, progress }),
      };
    }
  }
}

/**
 * Adds the lookup of a share link to an accepted client, within the one budget of its plan (docs/bmux-protocol.md, "Budget"). Before a
 * dial, control is asked where the link leads now, since an iroh host has a new endpoint at each start. When the server is unreachable,
 * control is asked again, and another destination is tried once. Without a dial, nothing is asked.
 */
function withRenewal(asked: Accepted, renew: () => Promise<Destination | undefined>): Accepted {
  const { open = openAsPlanned } = asked;
  return {
    ...asked,
    open: async (first, upstreams, signal, leadsTo, progress) => {
      const deadline = new Deadline(first.budgetMs);
      const { link, route } = first.destination;
      const upstream = upstreams.for(first.destination);
      const isWarm = upstream.isWarm(route);
      const ready = upstream.isReady(route);
      const renewed = (ms: number): Promise<Destination | undefined> => {
        progress('planning');
        return inTime(renew(), ms, () => new Error('late')).catch(() => undefined);
      };
      // The lookup gets at most half of the time, since the known destination may still be right.
      const known = link !== undefined && !ready ? await renewed(deadline.remaining() / 2) : undefined;
      // A warm connection may be dead. The first attempt gets half of the time, and the new destination of the link gets the rest.
      const halved = link !== undefined && isWarm;
      const budgetMs = Math.max(1, deadline.remaining() / (halved ? 2 : 1));
      const plan = { ...first, destination: known ?? first.destination, budgetMs };
      if (known !== undefined) leadsTo(plan);
      try {
        return await open(plan, upstreams, signal, leadsTo, progress);
      } catch (error) {
        if (!(error instanceof Failure) || signal.aborted) throw error;
        const cut = halved && error.data.exitStatus === OUT_OF_TIME;
        if (!cut && !UNREACHABLE.has(error.code)) throw error;
        // Control is asked even when no time is left: the next client uses the result.
        const fresh = await renewed(deadline.remaining());
        const left = deadline.remaining();
        const leads = fresh !== undefined && fresh.address !== plan.destination.address;
        if (left === 0 || !(leads || cut)) throw error;
        const other = { ...plan, destination: leads ? fresh : plan.destination, budgetMs: left };
        leadsTo(other);
        return open(other, upstreams, signal, leadsTo, progress);
      }
    },
  };
}

/**
 * Serves a client of a target socket. It speaks bmux's protocol from its first byte, and nothing has been read from it yet. Resolves when its
 * first frame has been read, or when none comes. Never rejects.
 */
export function greet(
  socket: Socket,
  plan: Plan,
  options: {
    readonly renew: () => Promise<Destination | undefined>;
    readonly add: (accepted: Accepted) => void;
    readonly log: Logger;
    /** The clients that have sent no first frame. */
    readonly idle: IdleConnections;
  },
): Promise<void> {
  const isHeard = options.idle.add(socket);
  return acceptedFrom(socket, plan, Buffer.alloc(0))
    .finally(isHeard)
    .then(
      (accepted) => {
        if (accepted !== undefined) options.add(withRenewal(accepted, options.renew));
      },
      (error: unknown) => {
        options.log.error({ err: asFailure(error).data }, 'target socket');
        socket.destroy();
      },
    );
}
