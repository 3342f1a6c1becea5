// Target sockets, the engine's side: accepts on them from plans sent ahead, for as long as it lives, whether control does or not.
import type { Server, Socket } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import type { Logger } from '../../base/log.ts';
import { adopt } from '../../sockets/accepted-socket.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Plan, Route } from '../../engine-protocol/plan.ts';

interface TargetSocket {
  plan: Plan;
  server: Server;
  /** Who waits for a renewed plan. */
  readonly waiting: ((plan: Plan | undefined) => void)[];
}

export interface TargetSocketsOptions {
  /** `renew` asks control for a plan that leads somewhere; undefined when it has none in time. */
  readonly serve: (plan: Plan, socket: Socket, renew: () => Promise<Plan | undefined>) => void;
  /** Tells control that the plan of a target socket led nowhere; false when there is no control that could know another. */
  readonly stale: (id: string) => boolean;
  /** The plan of a target socket was replaced. */
  readonly renewed: (before: Plan, now: Plan) => void;
  /** No target socket leads where this plan led any more: its target leads elsewhere, or is gone. */
  readonly left: (plan: Plan) => void;
  readonly log: Logger;
}

/** The plan that counts is the one in force when a client connects. */
export class TargetSockets {
  readonly #options: TargetSocketsOptions;
  readonly #targetSockets = new Map<string, TargetSocket>();
  #accepted = 0;

  constructor(options: TargetSocketsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#targetSockets.size;
  }

  /** A new target socket, a renewed plan, or a target socket whose socket was made anew. */
  open(id: string, plan: Plan, server: Server | undefined): void {
    const known = this.#targetSockets.get(id);
    if (known !== undefined) {
      const before = known.plan;
      known.plan = plan;
      this.#options.renewed(before, plan);
      this.#tellIfLeft(before);
    }
    for (const tell of known?.waiting.splice(0) ?? []) tell(plan);
    if (server === undefined) return;
    if (known !== undefined) this.#closeLater(known.server);
    const targetSocket: TargetSocket = known ?? { plan, server, waiting: [] };
    targetSocket.server = server;
    this.#targetSockets.set(id, targetSocket);
    server.on('connection', (socket) => {
      const adopted = adopt(socket);
      if (adopted === undefined) return;
      this.#accepted += 1;
      this.#options.serve(
        { ...targetSocket.plan, requestId: `${targetSocket.plan.requestId}-${this.#accepted.toString(36)}` },
        adopted,
        () => this.#renewed(id, targetSocket),
      );
    });
    server.on('error', (error) => {
      this.#options.log.warn({ targetSocket: id, err: error.message }, 'target socket');
    });
  }

  /** Whom the kernel has queued for the old socket, or is just connecting, is accepted yet: a close would cut them. */
  #closeLater(server: Server): void {
    setTimeout(() => server.close(), LIMITS.takenOverMs).unref();
  }

  #renewed(id: string, targetSocket: TargetSocket): Promise<Plan | undefined> {
    return new Promise((resolve) => {
      const tell = (plan: Plan | undefined): void => {
        answeredInTime();
        resolve(plan);
      };
      const answeredInTime = onSilence(LIMITS.renewMs, () => {
        const at = targetSocket.waiting.indexOf(tell);
        if (at >= 0) targetSocket.waiting.splice(at, 1);
        resolve(undefined);
      });
      targetSocket.waiting.push(tell);
      if (this.#options.stale(id)) return;
      targetSocket.waiting.splice(targetSocket.waiting.indexOf(tell), 1);
      tell(undefined);
    });
  }

  /** Asks for new plans of the target sockets to which a share link led over `route`; false when there is none, or no control to ask. */
  ask(route: Route): boolean {
    const there = [...this.#targetSockets].filter(
      ([, { plan }]) => plan.target.link !== undefined && addressOf(plan.target.route) === addressOf(route),
    );
    return there.map(([id]) => this.#options.stale(id)).includes(true);
  }

  /** Its target is gone. */
  close(id: string): void {
    const plan = this.#targetSockets.get(id)?.plan;
    this.#close(id);
    if (plan !== undefined) this.#tellIfLeft(plan);
  }

  /** Nobody is to come any more. */
  closeAll(): void {
    for (const id of this.#targetSockets.keys()) this.#close(id);
  }

  #close(id: string): void {
    this.#targetSockets.get(id)?.server.close();
    this.#targetSockets.delete(id);
  }

  #tellIfLeft(plan: Plan): void {
    const address = addressOf(plan.target.route);
    const others = [...this.#targetSockets.values()].map((targetSocket) =>
      addressOf(targetSocket.plan.target.route),
    );
    if (!others.includes(address)) this.#options.left(plan);
  }
}
