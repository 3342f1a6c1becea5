// The control socket's HTTP: what there is, as a table; every refusal is a problem (RFC 9457).
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import { refuse } from '../../sockets/http-answer.ts';
import {
  SCHEMA,
  type TargetSocketAnswer,
  type Health,
  type Status,
  type StatusProblem,
  type StreamList,
  type TargetList,
} from '../../api/answers.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { problemOf, PROBLEM_TYPE } from '../../errors/problem.ts';
import { MAX_HEADER_BYTES, STREAM_PROTOCOL, type StreamRequest } from '../../api/request.ts';
import { requestIn } from './request-header.ts';

/** What the routes do; one function each. */
export interface Resources {
  readonly health: () => Health;
  readonly status: () => Promise<Status>;
  /** For the caller's context, where the request says one. */
  readonly targets: (request: StreamRequest) => Promise<TargetList>;
  readonly streams: () => Promise<StreamList>;
  readonly endStream: (id: string) => Promise<boolean>;
  /** The target socket of the request's target, made where it is not there yet. */
  readonly targetSocket: (request: StreamRequest) => Promise<TargetSocketAnswer>;
  /** Makes `response` follow what happens; false when too many do. */
  readonly follow: (response: ServerResponse) => boolean;
  /** Lets go of what is warm for the request's target. */
  readonly drop: (request: StreamRequest) => Promise<void>;
  readonly reload: () => Promise<{ readonly problems: readonly StatusProblem[] }>;
  readonly stop: () => void;
}

/** Largest body that is read (and thrown away: no request has one), bytes. */
const MAX_BODY_BYTES = 4096;
/** Connections at once; a client that says nothing loses its own after `LIMITS.requestMs`. */
const MAX_CONNECTIONS = 4096;
/** ms between two looks for requests that do not arrive. Node's default is 30 s. */
const CHECK_MS = 1000;

/** The HTTP server, ready to listen. Its `upgrade` event is the caller's. */
export async function makeServer(resources: Resources): Promise<FastifyInstance> {
  const app = Fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout: LIMITS.requestMs,
    keepAliveTimeout: LIMITS.requestMs,
    http: {
      // Or Node answers 431 by itself at 16 KiB.
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: LIMITS.requestMs,
      connectionsCheckingInterval: CHECK_MS,
      // A Host says nothing on a Unix socket.
      requireHostHeader: false,
    },
    clientErrorHandler: (error, socket) => {
      onClientError(error, socket);
    },
    frameworkErrors: (error, _request, reply) => {
      send(reply, failureOf(error));
    },
    bodyLimit: MAX_BODY_BYTES,
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  refuseOddities(app.server);
  // A body means nothing here, whatever its type.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
    done(null, undefined);
  });
  app.get('/v1/health', () => resources.health());
  app.get('/v1/status', () => resources.status());
  app.get('/v1/targets', async (request) =>
    inTime(resources.targets(requestIn(request.raw) ?? {}), LIMITS.prepareMs, () =>
      fail('out_of_time', { ms: LIMITS.prepareMs, step: 'reading the config' }),
    ),
  );
  app.get('/v1/streams', () => resources.streams());
  app.delete<{ Params: { id: string } }>('/v1/streams/:id', async (request, reply) => {
    if (await resources.endStream(request.params.id)) return reply.code(202).send({ schema: SCHEMA });
    return send(reply, fail('stream_unknown', { id: request.params.id }));
  });
  // With the Upgrade header a POST /v1/streams never comes here.
  app.post('/v1/streams', (_request, reply) =>
    send(reply.header('Upgrade', STREAM_PROTOCOL), fail('upgrade_required')),
  );
  app.post('/v1/target-sockets', async (request) =>
    inTime(resources.targetSocket(requestIn(request.raw) ?? {}), LIMITS.targetSocketMs, () =>
      fail('engine_unavailable', { why: 'it does not accept on target sockets' }),
    ),
  );
  app.get('/v1/events', (_request, reply) => {
    reply.hijack();
    if (resources.follow(reply.raw)) return;
    const { data } = fail('followers_full');
    reply.raw.writeHead(data.status, { 'content-type': PROBLEM_TYPE }).end(JSON.stringify(problemOf(data)));
  });
  app.post('/v1/drop', async (request, reply) => {
    await inTime(resources.drop(requestIn(request.raw) ?? {}), LIMITS.prepareMs, () =>
      fail('out_of_time', { ms: LIMITS.prepareMs, step: 'reading the config' }),
    );
    return reply.code(202).send({ schema: SCHEMA });
  });
  app.post('/v1/reload', async () => ({ schema: SCHEMA, ...(await resources.reload()) }));
  app.post('/v1/stop', (_request, reply) => {
    // The answer leaves before the socket goes; `close` also comes when the client did not wait for it.
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

/** Errors of the framework are about the request; everything else is ours. */
function failureOf(error: FastifyError): Failure {
  if (error instanceof Failure) return error;
  if (error.statusCode === 413) return fail('request_body_too_large', { limit: MAX_BODY_BYTES });
  if (error.statusCode !== undefined && error.statusCode < 500)
    return fail('request_malformed', { why: error.message }, error);
  return asFailure(error);
}

function send(reply: FastifyReply, failure: Failure): FastifyReply {
  // As bytes: to an object's type the framework adds a charset, which JSON has none of (RFC 8259 §11).
  const body = Buffer.from(JSON.stringify(problemOf(failure.data)));
  return reply.code(failure.data.status).type(PROBLEM_TYPE).send(body);
}

/** What Node would answer without a body, or not at all. */
function refuseOddities(server: Server): void {
  server.on('connect', (message: IncomingMessage, socket) => {
    const failure = fail('route_unknown', { method: 'CONNECT', path: (message.url ?? '').slice(0, 200) });
    if (socket instanceof Socket) refuse(socket, failure.data);
    else socket.destroy();
  });
  server.on('checkExpectation', (_message: IncomingMessage, response: ServerResponse) => {
    const { data } = fail('request_malformed', { why: 'it expects what bmuxd does not do' });
    const body = JSON.stringify(problemOf(data));
    response.writeHead(data.status, {
      'Content-Type': PROBLEM_TYPE,
      'Content-Length': Buffer.byteLength(body),
      Connection: 'close',
    });
    response.end(body);
  });
}

/** What never became a request: broken HTTP, too large a header, one that does not arrive. */
function onClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  if (socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  refuse(socket, clientFailure(error.code).data);
}

function clientFailure(code: string | undefined): Failure {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return fail('request_too_large', { limit: MAX_HEADER_BYTES });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return fail('request_timeout', { ms: LIMITS.requestMs });
    default:
      return fail('request_malformed', { why: code ?? 'broken HTTP' });
  }
}
