// The HTTP server of the control socket: its routes, each answered by one function. Refusals are problem details (RFC 9457).
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import { IdleConnections, MAX_CONNECTIONS } from '../../sockets/idle-connections.ts';
import { HTTP_LIMITS, onClientError, refuseUnsupported } from '../../sockets/http-refusals.ts';
import {
  SCHEMA,
  type TargetSocketAnswer,
  type Health,
  type Status,
  type StatusProblem,
  type StreamEnd,
  type StreamList,
  type TargetList,
} from '../../api/answers.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { problemOf, PROBLEM_TYPE } from '../../errors/problem.ts';
import { VERSION_HEADER } from '../../api/header.ts';
import type { StreamRequest } from '../../api/request.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import type { OwnClients } from '../../sockets/own-clients.ts';
import { refuse } from '../../sockets/http-answer.ts';
import { EXPOSITION_TYPE } from '../metrics/exposition.ts';
import { requestHeader } from '../../sockets/request-header.ts';

/** The functions behind the routes, one for each. */
export interface Resources {
  /** Of the daemon; it is in the header `Bmuxd-Version` of every answer. */
  readonly version: string;
  readonly health: () => Health;
  readonly status: () => Promise<Status>;
  /** The text for Prometheus. */
  readonly metrics: () => Promise<string>;
  /** The targets of the request's context, of the daemon's own without one; the one target that the request names, if it does. */
  readonly targets: (request: StreamRequest) => Promise<TargetList>;
  readonly streams: () => Promise<StreamList>;
  /** How a stream ended. */
  readonly streamEnd: (id: string) => Promise<StreamEnd>;
  readonly endStream: (id: string) => Promise<boolean>;
  /** The target socket of the request's target. It is made if it does not exist. Rejects when `signal` aborts. */
  readonly targetSocket: (request: StreamRequest, signal: AbortSignal) => Promise<TargetSocketAnswer>;
  /** Makes `response` follow the events. False when there are too many followers. */
  readonly follow: (response: ServerResponse) => boolean;
  /** Closes warm connections and spares of the request's target. */
  readonly drop: (request: StreamRequest) => Promise<void>;
  /** The plan of a request, for an engine whose own control process is gone. */
  readonly plan: (requestId: string, header: string | undefined) => Promise<Plan>;
  /** Parses a Bmux-Request header. Throws the failure when it is invalid. */
  readonly parse: (header: string) => StreamRequest;
  /** Path of the socket for stream requests. */
  readonly streamsSocket: string;
  readonly reload: () => Promise<{ readonly problems: readonly StatusProblem[] }>;
  readonly stop: () => void;
}

/** Largest request body, bytes. Bodies are read and ignored, since no request needs one. */
const MAX_BODY_BYTES = 4096;

/** Makes the HTTP server. It is ready to listen, but does not listen yet. */
export async function makeServer(resources: Resources, clients: OwnClients): Promise<FastifyInstance> {
  /** The content of the request's Bmux-Request header; an empty request when there is no header. */
  const requestIn = (message: IncomingMessage): StreamRequest => {
    const header = requestHeader(message);
    return header === undefined ? {} : resources.parse(header);
  };
  const app = Fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout: LIMITS.requestMs,
    keepAliveTimeout: LIMITS.requestMs,
    http: HTTP_LIMITS,
    clientErrorHandler: (error, socket) => {
      onClientError(error, socket);
    },
    frameworkErrors: (error, _request, reply) => {
      send(reply, failureOf(error));
    },
    bodyLimit: MAX_BODY_BYTES,
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  new IdleConnections().watch(app.server);
  clients.guard(app.server);
  refuseUnsupported(app.server);
  // A body of any type is accepted and ignored.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
    done(null, undefined);
  });
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header(VERSION_HEADER, resources.version);
    done();
  });
  app.get('/v1/health', () => resources.health());
  app.get('/v1/status', () => resources.status());
  app.get('/v1/metrics', async (_request, reply) =>
    reply.type(EXPOSITION_TYPE).send(await resources.metrics()),
  );
  app.get('/v1/targets', async (request) =>
    inTime(resources.targets(requestIn(request.raw)), LIMITS.prepareMs, () =>
      fail('out_of_time', { ms: LIMITS.prepareMs, step: 'reading the config' }),
    ),
  );
  app.get('/v1/streams', () => resources.streams());
  app.get<{ Params: { id: string } }>('/v1/streams/:id/end', ({ params }) => resources.streamEnd(params.id));
  app.delete<{ Params: { id: string } }>('/v1/streams/:id', async (request, reply) => {
    if (await resources.endStream(request.params.id)) return reply.code(202).send({ schema: SCHEMA });
    return send(reply, fail('stream_unknown', { id: request.params.id }));
  });
  app.post('/v1/streams', (_request, reply) =>
    send(reply, fail('wrong_socket', { socket: resources.streamsSocket })),
  );
  // Node emits one 'upgrade' event for requests with an Upgrade header, whatever their path.
  app.server.on('upgrade', (_message: IncomingMessage, socket: Duplex) => {
    if (socket instanceof Socket)
      refuse(socket, fail('wrong_socket', { socket: resources.streamsSocket }).data);
    else socket.destroy();
  });
  app.post('/v1/plans', async (request) => {
    const requestId = request.raw.headers['bmux-request-id'];
    const id = typeof requestId === 'string' ? requestId.slice(0, 100) : 'unknown';
    return { schema: SCHEMA, plan: await resources.plan(id, requestHeader(request.raw)) };
  });
  app.post('/v1/target-sockets', async (request) => {
    const stop = new AbortController();
    return inTime(resources.targetSocket(requestIn(request.raw), stop.signal), LIMITS.targetSocketMs, () => {
      const late = fail('engine_unavailable', { why: 'it does not accept on target sockets' });
      stop.abort(late);
      return late;
    });
  });
  app.get('/v1/events', (_request, reply) => {
    reply.hijack();
    if (resources.follow(reply.raw)) return;
    const { data } = fail('followers_full');
    reply.raw.writeHead(data.status, { 'content-type': PROBLEM_TYPE }).end(JSON.stringify(problemOf(data)));
  });
  app.post('/v1/drop', async (request, reply) => {
    await inTime(resources.drop(requestIn(request.raw)), LIMITS.prepareMs, () =>
      fail('out_of_time', { ms: LIMITS.prepareMs, step: 'reading the config' }),
    );
    return reply.code(202).send({ schema: SCHEMA });
  });
  app.post('/v1/reload', async () => ({ schema: SCHEMA, ...(await resources.reload()) }));
  app.post('/v1/stop', (_request, reply) => {
    // The daemon stops after the answer has been sent. 'close' also comes when the client did not wait for the answer.
    reply.raw.once('close', resources.stop);
    return reply.code(202).send({ schema: SCHEMA });
  });
  app.setNotFoundHandler((request, reply) =>
    send(reply, fail('route_unknown', { method: request.method, path: request.url.slice(0, 200) })),
  );
  app.setErrorHandler((error: FastifyError, _request, reply) => send(reply, failureOf(error)));
  await app.ready();
  return app;
}

/** Fastify's own errors below status 500 are about the request. Any other error is the daemon's. */
function failureOf(error: FastifyError): Failure {
  if (error instanceof Failure) return error;
  if (error.statusCode === 413) return fail('request_body_too_large', { limit: MAX_BODY_BYTES });
  if (error.statusCode !== undefined && error.statusCode < 500)
    return fail('request_malformed', { why: error.message }, error);
  return asFailure(error);
}

function send(reply: FastifyReply, failure: Failure): FastifyReply {
  // Sent as bytes: to the type of a text or object Fastify adds a charset, which JSON does not have (RFC 8259, section 11).
  const body = Buffer.from(JSON.stringify(problemOf(failure.data)));
  return reply.code(failure.data.status).type(PROBLEM_TYPE).send(body);
}
