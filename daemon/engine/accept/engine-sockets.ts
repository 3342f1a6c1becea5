// Everything on which the engine accepts streams: the socket for stream requests and the target sockets.
import type { Server } from 'node:net';
import type { Logger } from '../../base/log.ts';
import type { PlanningRow } from '../../api/answers.ts';
import type { OneToEngine } from '../../engine-protocol/messages.ts';
import type { Route } from '../../engine-protocol/plan.ts';
import type { Upstreams } from '../upstream/upstreams.ts';
import { IdleConnections } from '../../sockets/idle-connections.ts';
import { StreamRequests, type StreamRequestsOptions } from './stream-requests.ts';
import { greet, type Accepted } from './target-socket-client.ts';
import { TargetSockets, type TargetSocketsOptions } from './target-sockets.ts';

export interface EngineSocketsOptions
  extends StreamRequestsOptions, Pick<TargetSocketsOptions, 'destinationOf' | 'hasControl'> {
  /** The targets of target sockets are referred to there. */
  readonly upstreams: Pick<Upstreams, 'for' | 'move'>;
  readonly log: Logger;
}

/** What control says about sockets. */
export type SocketMessage = Extract<
  OneToEngine,
  { readonly type: 'listen' | 'target socket' | 'close target socket' }
>;

export class EngineSockets {
  readonly #streams: StreamRequests;
  readonly #targets: TargetSockets;
  /** Clients of target sockets that have sent no first frame. */
  readonly #idle = new IdleConnections();
  #hasAccepted = false;

  constructor(options: EngineSocketsOptions) {
    const { upstreams, streams, log, tally, onIdle } = options;
    this.#streams = new StreamRequests(options);
    this.#targets = new TargetSockets({
      ...options,
      serve: (plan, socket, renew) => {
        const counted = (accepted: Accepted): void => {
          tally.requested('target_socket');
          streams.add(accepted);
        };
        void greet(socket, plan, { renew, add: counted, log, idle: this.#idle }).then(onIdle);
      },
      refer: (destination) => {
        upstreams.for(destination).refer(destination);
      },
      move: (before, now) => {
        upstreams.move(before, now);
      },
      unrefer: (destination) => {
        upstreams.for(destination).unrefer(destination);
      },
    });
  }

  /** Requests for streams that have no answer yet, and clients of target sockets that may still ask for one. */
  get waiting(): number {
    return this.#streams.waiting + this.#idle.size;
  }

  /** Requests for streams that have no plan yet. */
  planningRows(): PlanningRow[] {
    return this.#streams.planningRows();
  }

  /** Control has told it to accept. Before that, its daemon only gets ready to take over from another one. */
  get hasAccepted(): boolean {
    return this.#hasAccepted;
  }

  hasTargetSockets(): boolean {
    return this.#targets.size > 0;
  }

  /** Does what control says. `server` comes with `listen`; returns true when the engine listens on it now. */
  handle(message: SocketMessage, server: Server | undefined): boolean {
    switch (message.type) {
      case 'listen':
        if (server === undefined) return false;
        this.#hasAccepted = true;
        if (message.socket.kind === 'streams') this.#streams.listen(server);
        else this.#targets.listen(message.socket.targetSocket, message.socket, server);
        return true;
      case 'target socket':
        this.#targets.update(message.targetSocket, message);
        return false;
      case 'close target socket':
        this.#targets.close(message.targetSocket);
        return false;
    }
  }

  /** Resolves again the share links that led to `route`; false when there are none, or no control process to ask. */
  ask(route: Route): boolean {
    return this.#targets.ask(route);
  }

  /** Accepts no more. Requests that are waiting go on. */
  closeAll(): void {
    this.#streams.close();
    this.#targets.closeAll();
  }

  /** Refuses the requests that have no answer yet. */
  refuseWaiting(): void {
    this.#streams.refuseWaiting();
  }
}
