// Target sockets, the engine's side: accepts on them from plans sent ahead, for as long as it lives, whether control does or not.
import type { Server, Socket } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import type { Logger } from '../../base/log.ts';
import { adopt } from '../../sockets/accepted-socket.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Destination, Plan, Principal, Route } from '../../engine-protocol/plan.ts';

interface TargetSocket {
  destination: Destination;
  principal: Principal;
  server: Server;
  /** Who waits for a renewed plan. */
  readonly waiting: ((destination: Destination | undefined) => void)[];
}

export interface TargetSocketsOptions {
  /** `renew` asks control for a plan that leads somewhere; undefined when it has none in time. */
  readonly serve: (plan: Plan, socket: Socket, renew: () => Promise<Destination | undefined>) => void;
  /** Tells control that the plan of a target socket led nowhere; false when there is no control that could know another. */
  readonly stale: (id: string) => boolean;
  /** The plan of a target socket was replaced. */
  readonly renewed: (before: Destination, now: Destination) => void;
  /** No target socket leads where this plan led any more: its target leads elsewhere, or is gone. */
  readonly left: (destination: Destination) => void;
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
  open(
    id: string,
    { destination, principal }: { readonly destination: Destination; readonly principal: Principal },
    server: Server | undefined,
  ): void {
    const known = this.#targetSockets.get(id);
    if (known !== undefined) {
      const before = known.destination;
      known.destination = destination;
      known.principal = principal;
      this.#options.renewed(before, destination);
      this.#tellIfLeft(before);
    }
    for (const tell of known?.waiting.splice(0) ?? []) tell(destination);
    if (server === undefined) return;
    if (known !== undefined) this.#closeLater(known.server);
    const targetSocket: TargetSocket = known ?? { destination, principal, server, waiting: [] };
    targetSocket.server = server;
    this.#targetSockets.set(id, targetSocket);
    server.on('connection', (socket) => {
      const adopted = adopt(socket);
      if (adopted === undefined) return;
      this.#accepted += 1;
      this.#options.serve(this.#planFor(targetSocket), adopted, () => this.#renewed(id, targetSocket));
    });
    server.on('error', (error) => {
      this.#options.log.warn({ targetSocket: id, err: error.message }, 'target socket');
    });
  }

  /** A client of a target socket has checked slot and build itself, brings its own principal and contract, and has the whole time. */
  #planFor({ destination, principal }: TargetSocket): Plan {
    return {
      destination,
      client: {
        requestId: `t${process.pid.toString(36)}-${this.#accepted.toString(36)}`,
        name: 'bmuxd',
        principal,
        ifRunning: false,
        warnings: [],
      },
      budgetMs: destination.connectTimeoutMs,
    };
  }

  /** Whom the kernel has queued for the old socket, or is just connecting, is accepted yet: a close would cut them. */
  #closeLater(server: Server): void {
    setTimeout(() => server.close(), LIMITS.takenOverMs).unref();
  }

  #renewed(id: string, targetSocket: TargetSocket): Promise<Destination | undefined> {
    return new Promise((resolve) => {
      const tell = (destination: Destination | undefined): void => {
        answeredInTime();
        resolve(destination);
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
      ([, { destination }]) => destination.link !== undefined && destination.address === addressOf(route),
    );
    return there.map(([id]) => this.#options.stale(id)).includes(true);
  }

  /** Its target is gone. */
  close(id: string): void {
    const destination = this.#targetSockets.get(id)?.destination;
    this.#close(id);
    if (destination !== undefined) this.#tellIfLeft(destination);
  }

  /** Nobody is to come any more. */
  closeAll(): void {
    for (const id of this.#targetSockets.keys()) this.#close(id);
  }

  #close(id: string): void {
    this.#targetSockets.get(id)?.server.close();
    this.#targetSockets.delete(id);
  }

  #tellIfLeft(left: Destination): void {
    const addresses = [...this.#targetSockets.values()].map(({ destination }) => destination.address);
    if (!addresses.includes(left.address)) this.#options.left(left);
  }
}
