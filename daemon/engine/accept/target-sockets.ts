// Target sockets, the engine's side: accepts on them from plans sent ahead, for as long as it lives, whether control does or not.
import type { Server, Socket } from 'node:net';
import type { Logger } from '../../base/log.ts';
import { adopt } from '../../sockets/accepted-socket.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { LIMITS } from '../../base/limits.ts';
import type { TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Destination, Plan, Principal, Route } from '../../engine-protocol/plan.ts';

interface TargetSocket {
  destination: Destination;
  principal: Principal;
  server: Server;
}

export interface TargetSocketsOptions {
  /** `renew` asks control for a plan that leads somewhere; undefined when it has none in time. */
  readonly serve: (plan: Plan, socket: Socket, renew: () => Promise<Destination | undefined>) => void;
  /** Asks control where the share link of a target socket leads now; undefined when it does not know, or is away. */
  readonly destinationOf: (id: string) => Promise<Destination | undefined>;
  /** False when there is no control to ask. */
  readonly hasControl: () => boolean;
  /** A new target socket leads there. */
  readonly refer: (destination: Destination) => void;
  /** The plan of a target socket was replaced. */
  readonly move: (before: Destination, now: Destination) => void;
  /** A target socket is gone. */
  readonly unrefer: (destination: Destination) => void;
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

  /** Accepts on a new socket, or on one whose path was made anew. */
  listen(id: string, plan: TargetSocketPlan, server: Server): void {
    const known = this.#targetSockets.get(id);
    if (known !== undefined) {
      this.update(id, plan);
      this.#closeLater(known.server);
    } else this.#options.refer(plan.destination);
    const targetSocket: TargetSocket = known ?? { ...plan, server };
    targetSocket.server = server;
    this.#targetSockets.set(id, targetSocket);
    server.on('connection', (socket) => {
      const adopted = adopt(socket);
      if (adopted === undefined) return;
      this.#accepted += 1;
      this.#options.serve(this.#planFor(targetSocket), adopted, () => this.#renewed(id));
    });
    server.on('error', (error) => {
      this.#options.log.warn({ targetSocket: id, err: error.message }, 'target socket');
    });
  }

  /** It leads there from now on. */
  update(id: string, { destination, principal }: TargetSocketPlan): void {
    const known = this.#targetSockets.get(id);
    if (known === undefined) return;
    const before = known.destination;
    known.destination = destination;
    known.principal = principal;
    this.#options.move(before, destination);
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

  /** Where it leads now, as control says; what control says counts from now on. */
  async #renewed(id: string): Promise<Destination | undefined> {
    const destination = await this.#options.destinationOf(id);
    const known = this.#targetSockets.get(id);
    if (destination !== undefined && known !== undefined) this.update(id, { ...known, destination });
    return destination;
  }

  /** Asks anew where the share links lead that led to `route`; false when there is none, or no control to ask. */
  ask(route: Route): boolean {
    if (!this.#options.hasControl()) return false;
    const address = addressOf(route);
    const linked = [...this.#targetSockets].filter(
      ([, { destination }]) => destination.link !== undefined && destination.address === address,
    );
    for (const [id] of linked) void this.#renewed(id);
    return linked.length > 0;
  }

  /** Its target is gone. */
  close(id: string): void {
    const destination = this.#targetSockets.get(id)?.destination;
    this.#close(id);
    if (destination !== undefined) this.#options.unrefer(destination);
  }

  /** Nobody is to come any more. */
  closeAll(): void {
    for (const id of this.#targetSockets.keys()) this.#close(id);
  }

  #close(id: string): void {
    this.#targetSockets.get(id)?.server.close();
    this.#targetSockets.delete(id);
  }
}
