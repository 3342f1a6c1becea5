// Target sockets, the engine's side. Control sends their plans in advance, so the engine also accepts on them while control is away.
import type { Server, Socket } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import type { Logger } from '../../base/log.ts';
import { setBacklog } from '../../base/node-internals.ts';
import type { OwnClients } from '../../sockets/own-clients.ts';
import { adopt } from '../../sockets/accepted-socket.ts';
import { BACKLOG } from '../../sockets/bind.ts';
import { closeWhenEmpty } from '../../sockets/close-when-empty.ts';
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
  /** Serves one client. `renew` asks control where the target leads now; undefined when control does not know, or is away. */
  readonly serve: (plan: Plan, socket: Socket, renew: () => Promise<Destination | undefined>) => void;
  /** Asks control where the share link of a target socket leads now; undefined when control does not know, or is away. */
  readonly destinationOf: (id: string) => Promise<Destination | undefined>;
  /** False when there is no control to ask. */
  readonly hasControl: () => boolean;
  /** Called when a new target socket leads to this destination. */
  readonly refer: (destination: Destination) => void;
  /** Called when a target socket leads to `now` instead of `before`. */
  readonly move: (before: Destination, now: Destination) => void;
  /** Called when a target socket that led to this destination has been closed. */
  readonly unrefer: (destination: Destination) => void;
  readonly clients: OwnClients;
  readonly log: Logger;
}

/** The target sockets of an engine, by id. A client gets the plan that is in force when it connects. */
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

  /** Accepts on the socket of a new id, or on a new socket for a known id. The former socket is closed after `LIMITS.takenOverMs`. */
  listen(id: string, plan: TargetSocketPlan, server: Server): void {
    const known = this.#targetSockets.get(id);
    if (known !== undefined) {
      this.update(id, plan);
      this.#closeLater(known.server);
    } else this.#options.refer(plan.destination);
    const targetSocket: TargetSocket = known ?? { ...plan, server };
    targetSocket.server = server;
    this.#targetSockets.set(id, targetSocket);
    setBacklog(server, BACKLOG);
    server.on('connection', (socket) => {
      const adopted = this.#options.clients.admits(socket) ? adopt(socket) : undefined;
      if (adopted === undefined) return;
      this.#accepted += 1;
      this.#options.serve(this.#planFor(targetSocket), adopted, () => this.#renewed(id));
    });
    server.on('error', (error) => {
      this.#options.log.warn({ targetSocket: id, err: error.message }, 'target socket');
    });
  }

  /** Replaces where a target socket leads. */
  update(id: string, { destination, principal }: TargetSocketPlan): void {
    const known = this.#targetSockets.get(id);
    if (known === undefined) return;
    const before = known.destination;
    known.destination = destination;
    known.principal = principal;
    this.#options.move(before, destination);
  }

  /**
   * The plan for one client. It has no policy warnings, since the client checks slot and build itself. Its principal and contract come
   * from its Hello, and it has the whole connect timeout.
   */
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

  /** Closes the former socket of a path after a while. A close before the last clients in its queue are accepted would cut them. */
  #closeLater(server: Server): void {
    onSilence(LIMITS.takenOverMs, () => void closeWhenEmpty(server));
  }

  /** Asks control where a target socket leads now, and uses the answer for later clients too. */
  async #renewed(id: string): Promise<Destination | undefined> {
    const destination = await this.#options.destinationOf(id);
    const known = this.#targetSockets.get(id);
    if (destination !== undefined && known !== undefined) this.update(id, { ...known, destination });
    return destination;
  }

  /** Asks control again about all share links that lead to `route`. False when there are none, or control is away. */
  ask(route: Route): boolean {
    if (!this.#options.hasControl()) return false;
    const address = addressOf(route);
    const linked = [...this.#targetSockets].filter(
      ([, { destination }]) => destination.link !== undefined && destination.address === address,
    );
    for (const [id] of linked) void this.#renewed(id);
    return linked.length > 0;
  }

  /** Closes one target socket, whose target is gone. */
  close(id: string): void {
    const destination = this.#targetSockets.get(id)?.destination;
    this.#close(id);
    if (destination !== undefined) this.#options.unrefer(destination);
  }

  /** Closes all target sockets, because this engine accepts no more clients. Their destinations stay referenced. */
  closeAll(): void {
    for (const id of this.#targetSockets.keys()) this.#close(id);
  }

  #close(id: string): void {
    const known = this.#targetSockets.get(id);
    if (known === undefined) return;
    this.#targetSockets.delete(id);
    void closeWhenEmpty(known.server);
  }
}
