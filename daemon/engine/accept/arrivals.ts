// Sockets that have arrived, and what is made of them: a caller of the control socket, handed over by control, or a client of a target socket.
import type { Socket } from 'node:net';
import type { Logger } from '../../base/log.ts';
import { monotonicMs } from '../../sockets/monotonic.ts';
import { adopt } from '../../sockets/accepted-socket.ts';
import type { OneFromEngine, HandedOver, ToEngine } from '../../engine-protocol/messages.ts';
import { asFailure } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import { httpClient } from './client.ts';
import { acceptedFrom, withRenewal, type Accepted } from './target-socket-client.ts';

export interface ArrivalsOptions {
  readonly add: (asked: Accepted) => void;
  readonly send: (message: OneFromEngine) => void;
  readonly log: Logger;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** Takes a socket with its plan. Control keeps its own copy until `settled`. */
  take(message: Extract<ToEngine, { type: 'stream' }>, handle: unknown): void {
    const { add, send, log } = this.#options;
    const { handoff } = message;
    const { plan, givenUp } = budgeted(message);
    const { requestId } = plan.client;
    const socket = adopt(handle);
    const head = Buffer.from(message.head, 'base64');
    const settled = (): void => {
      send({ type: 'settled', handoff });
    };
    send({ type: 'taken', handoff });
    if (socket === undefined) {
      // A client that left while its socket was under way arrives as nothing.
      settled();
    } else if (givenUp()) {
      log.warn({ requestId }, 'control has given this request up meanwhile');
      socket.destroy();
    } else {
      add({ plan, client: httpClient({ socket, head, givenUp, plan, settled }) });
    }
  }

  /** A client of a target socket: it speaks the server's protocol from its first byte, and nothing of it has been read. */
  greet(plan: Plan, socket: Socket, renew: () => Promise<Destination | undefined>): void {
    acceptedFrom(socket, plan, Buffer.alloc(0)).then(
      (asked) => {
        if (asked !== undefined) this.#options.add(withRenewal(asked, renew));
      },
      (error: unknown) => {
        this.#options.log.error({ err: asFailure(error).data }, 'target socket');
        socket.destroy();
      },
    );
  }
}

/** A plan with what is left of its budget, and whether control has answered the client by now: this process may have been stopped. */
function budgeted({ plan, sentAt }: HandedOver): { readonly plan: Plan; readonly givenUp: () => boolean } {
  // Half of the grace is for the answer that is under way when control's own time is over.
  const until = sentAt + plan.budgetMs + LIMITS.engineGraceMs / 2;
  return {
    plan: { ...plan, budgetMs: Math.max(1, plan.budgetMs - (monotonicMs() - sentAt)) },
    givenUp: () => monotonicMs() > until,
  };
}
