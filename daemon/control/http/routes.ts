// What the routes of the control socket answer: one function for each row of the table of routes.
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { inTime } from '../../base/async/deadline.ts';
import type { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import {
  SCHEMA,
  type Health,
  type LoginAnswer,
  type Status,
  type StatusProblem,
  type StreamEnd,
  type StreamList,
  type TargetList,
  type TargetSocketAnswer,
  type Version,
} from '../../api/answers.ts';
import type { ConfigReport } from '../../api/config/report.ts';
import { MAX_QUERY, type RouteName } from '../../api/openapi/routes.ts';
import type { StreamRequest } from '../../api/request.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { advised, fail } from '../../errors/fail.ts';
import { problemOf, PROBLEM_TYPE } from '../../errors/problem.ts';
import { requestHeader } from '../../sockets/request-header.ts';
import { EXPOSITION_TYPE } from '../metrics/exposition.ts';

/** The functions behind the routes. */
export interface Resources {
  readonly health: () => Health;
  /** Why a restart of control would help; undefined when it would not. */
  readonly notLive: () => Failure | undefined;
  /** Why streams are not accepted. */
  readonly notReady: () => Failure | undefined;
  readonly version: () => Version;
  /** The settings, and the config of the request's context. */
  readonly config: (request: StreamRequest) => Promise<ConfigReport>;
  readonly status: () => Promise<Status>;
  /** Why the daemon is degraded, without a question to engines. */
  readonly problems: () => readonly StatusProblem[];
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
  /** Has a warm connection or a spare made for the request's target. */
  readonly warm: (request: StreamRequest) => Promise<void>;
  /** Closes warm connections and spares of the request's target. */
  readonly drop: (request: StreamRequest) => Promise<void>;
  /** How a person logs in to the request's target, which is an SSH target. */
  readonly login: (request: StreamRequest) => Promise<LoginAnswer>;
  /** The plan of a request, for an engine whose own control process is gone. */
  readonly plan: (requestId: string, header: string | undefined) => Promise<Plan>;
  /** Parses a Bmux-Request header. Throws the failure when it is invalid. */
  readonly parse: (header: string) => StreamRequest;
  /** Path of the socket for stream requests. */
  readonly streamsSocket: string;
  readonly reload: () => Promise<{ readonly problems: readonly StatusProblem[] }>;
  /** Stops at once, or lets live streams go on for at most `drainMs` first. */
  readonly stop: (drainMs: number | undefined) => void;
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

export function handlersOf(resources: Resources): Readonly<Record<RouteName, Handler>> {
  /** The content of the request's Bmux-Request header; an empty request when there is no header. */
  const requestIn = (message: IncomingMessage): StreamRequest => {
    const header = requestHeader(message);
    return header === undefined ? {} : resources.parse(header);
  };
  const done = (reply: FastifyReply): FastifyReply => reply.code(202).send({ schema: SCHEMA });
  const healthUnless = (problem: Failure | undefined): Health => {
    if (problem !== undefined)
      throw advised(fail('not_ready', { why: problem.message }, problem), problem.data.remedy);
    return resources.health();
  };
  const wrongSocket = (): Failure => fail('wrong_socket', { socket: resources.streamsSocket });
  return {
    'GET /v1/health': () => resources.health(),
    'GET /v1/health/live': () => healthUnless(resources.notLive()),
    'GET /v1/health/ready': () => healthUnless(resources.notReady()),
    'GET /v1/version': () => resources.version(),
    'GET /v1/config': ({ raw }) => configInTime(resources.config(requestIn(raw))),
    'GET /v1/openapi.json': async () => {
      const { openapi } = await import('../../api/openapi/document.ts');
      return openapi(resources.version().version);
    },
    'GET /v1/status': () => resources.status(),
    'GET /v1/metrics': async (_request, reply) => reply.type(EXPOSITION_TYPE).send(await resources.metrics()),
    'GET /v1/targets': ({ raw }) => configInTime(resources.targets(requestIn(raw))),
    'GET /v1/streams': () => resources.streams(),
    'GET /v1/streams/{id}/end': (request) => resources.streamEnd(idIn(request)),
    'POST /v1/streams': (_request, reply) => send(reply, wrongSocket()),
    'POST /v1/plans': async ({ raw }) => {
      const requestId = raw.headers['bmux-request-id'];
      const id = typeof requestId === 'string' ? requestId.slice(0, 100) : 'unknown';
      return { schema: SCHEMA, plan: await resources.plan(id, requestHeader(raw)) };
    },
    'DELETE /v1/streams/{id}': async (request, reply) => {
      const id = idIn(request);
      return (await resources.endStream(id)) ? done(reply) : send(reply, fail('stream_unknown', { id }));
    },
    'POST /v1/target-sockets': ({ raw }) => {
      const stop = new AbortController();
      return inTime(resources.targetSocket(requestIn(raw), stop.signal), LIMITS.targetSocketMs, () => {
        const late = fail('engine_unavailable', { why: 'it does not accept on target sockets' });
        stop.abort(late);
        return late;
      });
    },
    'GET /v1/events': (_request, reply) => {
      reply.hijack();
      if (resources.follow(reply.raw)) return;
      const { data } = fail('followers_full');
      reply.raw.writeHead(data.status, { 'content-type': PROBLEM_TYPE }).end(JSON.stringify(problemOf(data)));
    },
    'POST /v1/warm': async ({ raw }, reply) => {
      await configInTime(resources.warm(requestIn(raw)));
      return done(reply);
    },
    'POST /v1/drop': async ({ raw }, reply) => {
      await configInTime(resources.drop(requestIn(raw)));
      return done(reply);
    },
    'POST /v1/login': ({ raw }) => configInTime(resources.login(requestIn(raw))),
    'POST /v1/reload': async () => ({ schema: SCHEMA, ...(await resources.reload()) }),
    'POST /v1/stop': (request, reply) => {
      const drainMs = drainIn(request);
      // The daemon stops after the answer has been sent. 'close' also comes when the client did not wait for the answer.
      reply.raw.once('close', () => {
        resources.stop(drainMs);
      });
      return done(reply);
    },
  };
}

/** The files of a config may be on a network file system. */
function configInTime<T>(answer: Promise<T>): Promise<T> {
  return inTime(answer, LIMITS.prepareMs, () =>
    fail('out_of_time', { ms: LIMITS.prepareMs, step: 'reading the config' }),
  );
}

/** The `:id` of the path. */
function idIn({ params }: FastifyRequest): string {
  return typeof params === 'object' && params !== null && 'id' in params ? String(params.id) : '';
}

/** The `drainMs` of the query; undefined without one. */
function drainIn({ query }: FastifyRequest): number | undefined {
  const ms: unknown =
    typeof query === 'object' && query !== null && 'drainMs' in query ? query.drainMs : undefined;
  if (ms === undefined) return undefined;
  if (typeof ms === 'string' && /^\d+$/.test(ms) && Number(ms) <= MAX_QUERY) return Number(ms);
  throw fail('request_field_invalid', { field: 'drainMs', why: 'it is not a number of milliseconds' });
}

export function send(reply: FastifyReply, failure: Failure): FastifyReply {
  // Sent as bytes: to the type of a text or object Fastify adds a charset, which JSON does not have (RFC 8259, section 11).
  const body = Buffer.from(JSON.stringify(problemOf(failure.data)));
  return reply.code(failure.data.status).type(PROBLEM_TYPE).send(body);
}
