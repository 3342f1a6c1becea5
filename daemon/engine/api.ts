// Serves the engine's socket, `engines/{generation}.sock`. A later control uses it to list and end the streams of this engine. The engine
// itself keeps the socket file in place, because the control that started it may no longer run.
import Fastify, { type FastifyInstance } from 'fastify';
import { textOf, type Failure } from '../base/failure.ts';
import type { Logger } from '../base/log.ts';
import { asFailure, fail } from '../errors/fail.ts';
import { PROBLEM_TYPE, problemOf } from '../errors/problem.ts';
import type { EndList } from '../api/stream-end.ts';
import { SCHEMA, type EngineRow, type EngineStatus, type PlanningRow } from '../api/answers.ts';
import { keptEndsBeside } from '../base/paths.ts';
import { ownIdentity } from '../base/process/identity.ts';
import { IdleConnections } from '../sockets/idle-connections.ts';
import type { OwnClients } from '../sockets/own-clients.ts';
import { KeptSocket } from '../sockets/kept-socket.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { StreamEnds } from './stream-ends.ts';
import type { Streams } from './streams.ts';
import type { Tally } from './metrics/tally.ts';
import type { Upstreams } from './upstream/upstreams.ts';

export interface EngineServerOptions {
  readonly socketPath: string;
  readonly identity: Pick<EngineRow, 'generation' | 'version' | 'sinceMs'>;
  readonly streams: Streams;
  readonly ends: StreamEnds;
  readonly sockets: { planningRows(): PlanningRow[]; hasTargetSockets(): boolean };
  readonly tally: Tally;
  readonly upstreams: Pick<Upstreams, 'rows'>;
  readonly lifecycle: Pick<Lifecycle, 'state' | 'drainedByOther' | 'endDrain' | 'stop'>;
  readonly clients: OwnClients;
  readonly log: Logger;
  /** What keeps the engine from a part of its work. */
  readonly problems: () => readonly (Failure | undefined)[];
}

export interface EngineServer {
  /** The answer to `GET /v1/engine`, without the tally when nothing was counted since the last call. */
  readonly news: () => EngineStatus;
  close(): Promise<void>;
}

/** Listens; rejects when the socket cannot be bound. */
export async function serveEngine(options: EngineServerOptions): Promise<EngineServer> {
  const app: FastifyInstance = Fastify({ logger: false, forceCloseConnections: true });
  new IdleConnections().watch(app.server);
  const { streams, sockets, lifecycle } = options;
  app.setErrorHandler((error, _, reply) => {
    const { data } = asFailure(error);
    return reply.code(data.status).type(PROBLEM_TYPE).send(problemOf(data));
  });
  app.get('/v1/engine', () => statusOf(options));
  app.get('/v1/streams', () => {
    const planning = sockets.planningRows();
    return { schema: SCHEMA, streams: streams.rows(), ...(planning.length === 0 ? {} : { planning }) };
  });
  app.get<{ Params: { id: string } }>('/v1/streams/:id/end', ({ params }) => options.ends.end(params.id));
  app.get<{ Querystring: Readonly<Record<string, unknown>> }>('/v1/ends', ({ query }): EndList => {
    const clientPid = numberIn(query['clientPid']);
    const live = streams
      .rows()
      .filter((row) => (clientPid === undefined || row.clientPid === clientPid) && !options.ends.has(row.id));
    const ends = options.ends.list({ clientPid, sinceMs: numberIn(query['sinceMs']) });
    return { schema: SCHEMA, ends, live: live.length, process: ownIdentity() };
  });
  app.delete<{ Params: { id: string } }>('/v1/streams/:id', async (request, reply) => {
    if (streams.end(request.params.id, 'bmuxd streams')) return reply.code(202).send({ schema: SCHEMA });
    return reply
      .code(404)
      .type(PROBLEM_TYPE)
      .send(problemOf(fail('stream_unknown', { id: request.params.id }).data));
  });
  app.post<{ Querystring: Readonly<Record<string, unknown>> }>('/v1/drain', async ({ query }, reply) => {
    const { max } = query;
    lifecycle.drainedByOther(max === 'none' ? max : numberIn(max));
    const count = numberIn(query['newer']);
    if (count !== undefined) lifecycle.endDrain({ for: 'engines', count });
    return reply.code(202).send({ schema: SCHEMA });
  });
  app.post<{ Querystring: Readonly<Record<string, unknown>> }>('/v1/stop', async ({ query }, reply) => {
    const { who } = query;
    // The engine stops after the answer has been sent, because stopping closes this connection.
    reply.raw.once('close', () => void lifecycle.stop(typeof who === 'string' ? who : undefined));
    return reply.code(202).send({ schema: SCHEMA });
  });
  options.clients.guard(app.server);
  await app.ready();
  const socket = await KeptSocket.bind({
    server: app.server,
    path: options.socketPath,
    direct: true,
    // Control makes a missing folder again. Until then the engine cannot bind.
    whenGone: (bindAgain) => bindAgain(),
    onError: (error) => {
      options.log.debug({ err: textOf(error) }, 'binding the engine socket again failed');
    },
  });
  return {
    news: newsOf(options),
    close: async () => {
      // Before the socket is gone: from then on clients read the file.
      await options.ends.keep(keptEndsBeside(options.socketPath)).catch((error: unknown) => {
        options.log.debug({ err: textOf(error) }, 'keeping the ends of streams failed');
      });
      await socket.close();
      await app.close();
    },
  };
}

/** The number in a field of a query; undefined when there is none. */
function numberIn(field: unknown): number | undefined {
  return typeof field === 'string' && /^\d{1,16}$/.test(field) ? Number(field) : undefined;
}

function newsOf(options: EngineServerOptions): () => EngineStatus {
  const { streams, tally } = options;
  let told = -1;
  return () => {
    const isNews = streams.size > 0 || tally.changes !== told;
    told = tally.changes;
    return isNews ? statusOf(options) : statusWithoutTally(options);
  };
}

function statusOf(options: EngineServerOptions): EngineStatus {
  const { streams, sockets, tally } = options;
  return { ...statusWithoutTally(options), tally: tally.counted(streams, sockets) };
}

function statusWithoutTally(options: EngineServerOptions): EngineStatus {
  const { identity, streams, upstreams, lifecycle, sockets } = options;
  const { state } = lifecycle;
  const accepts = state === 'serving' || sockets.hasTargetSockets();
  const problems = options.problems().flatMap((failure) => failure?.data ?? []);
  return {
    schema: SCHEMA,
    engine: { ...identity, pid: process.pid, state, streams: streams.size },
    // An engine that accepts no more reports only upstreams to which it still holds connections.
    upstreams: upstreams.rows().filter((row) => accepts || row.connections + row.streams > 0),
    ...(problems.length === 0 ? {} : { problems }),
  };
}
