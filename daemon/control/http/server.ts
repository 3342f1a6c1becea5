// The HTTP server of the control socket: limits, routes, and refusals as problem details (RFC 9457).
import Fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { methodsOf, ROUTE_LIST } from '../../api/openapi/routes.ts';
import { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { VERSION_HEADER } from '../../api/header.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { refuse } from '../../sockets/http-answer.ts';
import { HTTP_LIMITS, onClientError, refuseLate, refuseUnsupported } from '../../sockets/http-refusals.ts';
import { IdleConnections, MAX_CONNECTIONS } from '../../sockets/idle-connections.ts';
import type { OwnClients } from '../../sockets/own-clients.ts';
import { handlersOf, send, type Resources } from './routes.ts';

/** Largest request body, bytes. Bodies are read and ignored, since no request needs one. */
const MAX_BODY_BYTES = 4096;

/** Makes the HTTP server. It is ready to listen, but does not listen yet. */
export async function makeServer(resources: Resources, clients: OwnClients): Promise<FastifyInstance> {
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
  refuseLate(app.server);
  // A body of any type is accepted and ignored.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
    done(null, undefined);
  });
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header(VERSION_HEADER, resources.version().version);
    done();
  });
  const handlers = handlersOf(resources);
  for (const { name, method, path } of ROUTE_LIST)
    app.route({
      method,
      url: path.replace('{id}', ':id'),
      handler: (request, reply) => handlers[name](request, reply),
    });
  // Node emits one 'upgrade' event for requests with an Upgrade header, whatever their path.
  app.server.on('upgrade', (_message: IncomingMessage, socket: Duplex) => {
    if (socket instanceof Socket)
      refuse(socket, fail('wrong_socket', { socket: resources.streamsSocket }).data);
    else socket.destroy();
  });
  app.setNotFoundHandler(({ method, url }, reply) => {
    const path = url.split('?', 1)[0] ?? '';
    const allow = methodsOf(path).join(', ');
    if (allow === '') return send(reply, fail('route_unknown', { method, path: url.slice(0, 200) }));
    return send(
      reply.header('Allow', allow),
      fail('method_unknown', { method, path: path.slice(0, 200), allow }),
    );
  });
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
