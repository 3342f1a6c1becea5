// Accepts requests for streams: one HTTP upgrade each on `streams.sock`. Control makes the plan for each (docs/decisions/streams-socket.md).
import { createServer, type IncomingMessage, type Server as HttpServer } from 'node:http';
import { Socket, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import type { PlanningRow, StreamsHealth } from '../../api/answers.ts';
import { STREAM_PROTOCOL, WAITING_HEADER } from '../../api/upgrade.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { Slices } from '../../base/async/slices.ts';
import { LIMITS } from '../../base/limits.ts';
import { setBacklog } from '../../base/node-internals.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import type { OwnClients } from '../../sockets/own-clients.ts';
import { adopt, takeRead } from '../../sockets/accepted-socket.ts';
import { BACKLOG } from '../../sockets/bind.ts';
import { closeWhenEmpty } from '../../sockets/close-when-empty.ts';
import { processing, refuse } from '../../sockets/http-answer.ts';
import {
  answerProblem,
  HTTP_LIMITS,
  onClientError,
  refuseLate,
  refuseUnsupported,
} from '../../sockets/http-refusals.ts';
import { IdleConnections, MAX_CONNECTIONS } from '../../sockets/idle-connections.ts';
import { clientPidOf, closedByPeers } from '../../sockets/peer.ts';
import { requestHeader } from '../../sockets/request-header.ts';
import type { Accepted } from './target-socket-client.ts';
import { httpClient } from './client.ts';
import { EarlyRefusals, type EarlyRefusalsOptions } from './early-refusals.ts';
import type { FairBound } from './fair-bound.ts';
import { FullTargets } from './full-targets.ts';
import { RequestWait } from './request-wait.ts';

export interface StreamRequestsOptions extends EarlyRefusalsOptions {
  /**
   * Asks control for the plan of a request. `signal` aborts when the client closes its connection, or the daemon stops. `onAway` is called
   * when there is no control.
   */
  readonly plan: (
    requestId: string,
    header: string | undefined,
    waiting: { readonly signal: AbortSignal; readonly onAway: () => void },
  ) => Promise<Plan>;
  readonly streams: {
    /** Opens the stream of a plan for its client. */
    add(accepted: Accepted): void;
    /** Whether no further stream of this server may be asked for now. */
    isFull(address: string): boolean;
  };
  readonly health: () => StreamsHealth;
  /** Limits how many requests of the same content wait for a plan at once. Further ones are refused with `engine_busy`. */
  readonly planning: FairBound;
  /** Called when the last waiting request has its answer. */
  readonly onIdle: () => void;
  readonly clients: OwnClients;
}

/** The method of each path of this socket. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ['/v1/health', 'GET'],
  ['/v1/streams', 'POST'],
]);

/** A request that has no plan yet. */
interface Unplanned {
  readonly requestId: string;
  readonly socket: Socket;
  readonly wait: RequestWait;
}

export class StreamRequests {
  readonly #options: StreamRequestsOptions;
  readonly #http: HttpServer;
  #servers: Server[] = [];
  /** The requests that have no plan yet; each is given up with its controller. */
  readonly #planning = new Map<AbortController, Unplanned>();
  /** Number of requests without an answer. */
  #waiting = 0;
  #requests = 0;
  #closed = false;
  readonly #full: FullTargets;
  readonly #refusals: EarlyRefusals;

  constructor(options: StreamRequestsOptions) {
    this.#options = options;
    this.#full = new FullTargets(options.streams);
    this.#refusals = new EarlyRefusals(options);
    this.#http = createServer({ ...HTTP_LIMITS, keepAliveTimeout: LIMITS.requestMs });
    options.clients.guard(this.#http, 'awaited');
    refuseUnsupported(this.#http);
    refuseLate(this.#http);
    new IdleConnections().watch(this.#http);
    this.#http.on('clientError', (error, socket) => {
      const failure = socket instanceof Socket ? onClientError(error, socket) : void socket.destroy();
      if (failure !== undefined) this.#refusals.withoutRequest(failure);
    });
    this.#http.on('request', (message, response) => {
      const path = pathOf(message);
      if (message.method === 'GET' && path === '/v1/health') {
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify(this.#options.health()));
      } else if (message.method === 'POST' && path === '/v1/streams') {
        const failure = fail('upgrade_required');
        this.#refusals.withoutRequest(failure);
        answerProblem(response, failure, { Upgrade: STREAM_PROTOCOL });
      } else {
        const method = message.method ?? '';
        const allow = METHODS.get(path);
        if (allow === undefined)
          answerProblem(response, fail('route_unknown', { method, path: path.slice(0, 200) }));
        else answerProblem(response, fail('method_unknown', { method, path, allow }), { Allow: allow });
      }
    });
    this.#http.on('upgrade', (message, socket, head) => {
      this.#onUpgrade(message, socket, head);
    });
  }

  /** Accepts on a socket that control has bound. Replaces no earlier socket: the engine accepts on all of them until `close`. */
  listen(server: Server): void {
    this.#servers.push(server);
    // A server that was received from another process has no options. Without `allowHalfOpen`, Node would end our side of a connection
    // as soon as the client has ended its own.
    Reflect.set(server, 'allowHalfOpen', true);
    setBacklog(server, BACKLOG);
    server.maxConnections = MAX_CONNECTIONS;
    // The HTTP server never listens itself. Node starts its check for incomplete requests at the 'listening' event.
    if (this.#servers.length === 1) this.#http.emit('listening');
    server.on('connection', (socket) => {
      this.#http.emit('connection', socket);
    });
    server.on('error', (error) => {
      this.#options.log.warn({ err: error.message }, 'streams socket');
    });
    if (this.#closed) void closeWhenEmpty(server);
  }

  /** Number of requests without an answer. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The requests that have no plan yet. */
  planningRows(): PlanningRow[] {
    const { generation } = this.#options.health();
    return [...this.#planning.values()].map(({ requestId, socket, wait }) => {
      return { generation, requestId, ...clientPidOf(socket), sinceMs: wait.current.sinceMs };
    });
  }

  /** Refuses the requests that have no plan yet with `stopping`. */
  refuseWaiting(): void {
    for (const planning of this.#planning.keys()) planning.abort(fail('stopping'));
  }

  /** Stops accepting. Requests that have been accepted are still answered. */
  close(): void {
    this.#closed = true;
    for (const server of this.#servers) void closeWhenEmpty(server);
  }

  #onUpgrade(message: IncomingMessage, accepted: Duplex, head: Buffer): void {
    if (!(accepted instanceof Socket)) {
      accepted.destroy();
      return;
    }
    if (this.#refusedAsFull(message, accepted)) return;
    // The socket is not read until the stream is open. Until then the kernel holds what the client sends.
    const said = takeRead(accepted, head);
    const socket = adopt(accepted);
    if (socket === undefined) return;
    this.#serve(message, socket, said).catch((error: unknown) => {
      this.#options.log.error({ err: asFailure(error).data }, 'stream request');
      socket.destroy();
    });
  }

  /** Refuses a request whose server is full before anything is made for it: a flood has many of them. */
  #refusedAsFull(message: IncomingMessage, socket: Socket): boolean {
    const full = isRequest(message) ? this.#full.refusal(contentOf(message)) : undefined;
    if (full === undefined) return false;
    const requestId = this.#nextId();
    this.#options.tally.requested('streams_socket');
    this.#refusals.refused(requestId, full);
    refuse(socket, full.data, requestId);
    return true;
  }

  #nextId(): string {
    return `${process.pid.toString(36)}-${(this.#requests += 1).toString(36)}`;
  }

  async #serve(message: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const { streams, log, onIdle, tally } = this.#options;
    tally.requested('streams_socket');
    const requestId = this.#nextId();
    const planning = new AbortController();
    const onGone = (): void => {
      planning.abort(fail('stream_ended', { id: requestId, who: 'its client' }));
    };
    const takesNews = message.headers[WAITING_HEADER.toLowerCase()] !== undefined;
    const wait = new RequestWait({
      clock: SYSTEM_CLOCK,
      tell: takesNews ? (waiting) => socket.write(processing(waiting)) : undefined,
    });
    let answered = false;
    const done = (): void => {
      if (answered) return;
      wait.end();
      answered = true;
      this.#waiting -= 1;
      if (this.#waiting === 0) onIdle();
    };
    socket.on('error', () => undefined);
    socket.once('close', onGone);
    this.#waiting += 1;
    this.#planning.set(planning, { requestId, socket, wait });
    try {
      const { signal } = planning;
      const onAway = (): void => {
        wait.enter('restart of bmuxd');
      };
      const look = (): void => {
        if (closedByPeers([socket]).length > 0) onGone();
        signal.throwIfAborted();
      };
      check(message);
      const header = requestHeader(message);
      const content = header ?? '';
      // Requests of the same content wait for each other, also for their streams.
      const slices = new Slices(content);
      const plan = await this.#plan(requestId, header, () => slices.next().then(look), { signal, onAway });
      log.debug({ requestId, target: plan.destination.label, warnings: plan.client.warnings }, 'request');
      socket.once('close', done);
      streams.add({
        plan,
        client: this.#full.noting(content, plan, httpClient({ socket, head, plan, answered: done })),
        wait,
        abort: planning,
        slices,
      });
    } catch (error) {
      wait.end();
      const failure = asFailure(error);
      this.#refusals.refused(requestId, failure);
      if (!socket.destroyed) refuse(socket, failure.data, requestId);
      done();
    } finally {
      socket.off('close', onGone);
      this.#planning.delete(planning);
    }
  }

  async #plan(
    requestId: string,
    header: string | undefined,
    turn: () => Promise<void>,
    waiting: Parameters<StreamRequestsOptions['plan']>[2],
  ): Promise<Plan> {
    const { plan, planning } = this.#options;
    const key = header ?? '';
    const isPlanned = planning.take(key);
    if (isPlanned === undefined) throw fail('engine_busy', { count: planning.count(key) });
    try {
      // Many requests come in one turn of the event loop.
      await turn();
      return await plan(requestId, header, waiting);
    } finally {
      isPlanned();
    }
  }
}

/** Throws `upgrade_unsupported` unless this is `POST /v1/streams` with our protocol: Node emits 'upgrade' for every Upgrade header. */
function check(message: IncomingMessage): void {
  if (isRequest(message)) return;
  const { method = '', headers } = message;
  const [path, protocol] = [pathOf(message), headers.upgrade ?? ''];
  throw fail('upgrade_unsupported', { method, path: path.slice(0, 200), protocol: protocol.slice(0, 200) });
}

/** Several headers are no content of a request that was planned. */
function contentOf({ headers }: IncomingMessage): string {
  return String(headers['bmux-request'] ?? '');
}

function isRequest(message: IncomingMessage): boolean {
  const isUpgrade = message.headers.upgrade?.toLowerCase() === STREAM_PROTOCOL;
  return isUpgrade && message.method === 'POST' && pathOf(message) === '/v1/streams';
}

function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}
