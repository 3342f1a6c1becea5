// A client of a target socket: reads how it begins, and makes of it what a request on the control socket would be.
import type { Socket } from 'node:net';
import { Deadline } from '../base/deadline.ts';
import { Failure } from '../base/failure.ts';
import { addressOf } from '../hello/address.ts';
import { endGracefully } from '../transport/end.ts';
import type { Epoch, Plan } from '../wire/plan.ts';
import { helloCaller, letGo, rawCaller, type Caller } from './caller.ts';
import { readFirstFrame } from './first-frame.ts';
import { openByRace, openStream, openTransport, type OpenDeps } from './open.ts';
import type { Opened } from './opened.ts';
import { LED_NOWHERE } from './reached.ts';

/** A caller with the plan for it, and how its stream is opened where that is not the usual way. */
export interface Asked {
  readonly caller: Caller;
  readonly plan: Plan;
  readonly open?: (plan: Plan, deps: OpenDeps, signal: AbortSignal) => Promise<Opened>;
}

/** Resolves with what the client asks for; undefined when it left, or said nothing in time. `head`: what was read of it already. */
export async function askedBy(socket: Socket, plan: Plan, head: Buffer): Promise<Asked | undefined> {
  if (head.length > 0) socket.unshift(head);
  const first = await readFirstFrame(socket);
  switch (first.type) {
    case 'gone':
      letGo(socket);
      return undefined;
    case 'hello': {
      const { epoch, contract, clientName, principalId, rest } = first;
      const { revisions, capabilities } = contract;
      return {
        caller: helloCaller(socket, rest, first),
        plan: {
          ...plan,
          clientName,
          principal: { id: principalId },
          contract: { epoch, revisions, capabilities: [...capabilities] },
        },
      };
    }
    case 'other': {
      const { epoch, bytes } = first;
      return {
        caller: rawCaller(socket, bytes),
        plan,
        open: (asked, deps, signal) => openRaw(asked, epoch, deps, signal),
      };
    }
  }
}

/** The same, tried once more when control knows another way by then. */
export function withRenewal(asked: Asked, renew: () => Promise<Plan | undefined>): Asked {
  const { open = openStream } = asked;
  return {
    ...asked,
    open: async (first, deps, signal) => {
      const doubtful = first.target.link !== undefined && !deps.transports.isWarm(first.target.route);
      const known = doubtful ? await renew() : undefined;
      const plan = known === undefined ? first : { ...first, target: known.target };
      try {
        return await open(plan, deps, signal);
      } catch (error) {
        if (!(error instanceof Failure) || !LED_NOWHERE.has(error.code)) throw error;
        const fresh = await renew();
        if (fresh === undefined || addressOf(fresh.target.route) === addressOf(plan.target.route))
          throw error;
        return open({ ...plan, target: fresh.target, budgetMs: fresh.budgetMs }, deps, signal);
      }
    },
  };
}

/** A stream on which nothing has been said, in the compression of this server: found out first, where it is not known. */
async function openRaw(
  plan: Plan,
  epoch: Epoch | undefined,
  deps: OpenDeps,
  signal: AbortSignal,
): Promise<Opened> {
  const deadline = new Deadline(plan.budgetMs);
  let candidate = deps.learnt.get(addressOf(plan.target.route));
  if (candidate === undefined) {
    const { contract: _, ...asking } = plan;
    const found = await openByRace(asking, deps, signal);
    deps.transports.end(endGracefully(found.stream));
    candidate = found.candidate;
  }
  const { stream, warm } = await openTransport(plan, candidate, deadline, deps, signal);
  return {
    stream,
    candidate: { ...candidate, epoch: epoch ?? candidate.epoch },
    negotiated: { revision: 0, capabilities: [] },
    warm,
  };
}
