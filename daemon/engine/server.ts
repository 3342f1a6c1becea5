// The engine's own socket, `engines/{generation}.sock`: how a later control sees, lists and ends the streams of this one.
import type { Server } from 'node:net';
import Fastify, { type FastifyInstance } from 'fastify';
import { fail } from '../wire/fail.ts';
import { PROBLEM_TYPE, problemOf } from '../wire/problem.ts';
import { SCHEMA, type EngineStatus } from '../wire/answers.ts';
import { bindSocket, forwardTo } from '../handoff/bind.ts';
import type { Streams } from './streams.ts';

export interface EngineServerOptions {
  readonly socketPath: string;
  readonly streams: Streams;
  readonly status: () => EngineStatus;
  /** Takes no more streams and leaves after the last one. */
  readonly drain: () => void;
  /** Ends all streams gracefully and leaves. */
  readonly stop: () => void;
}

export interface EngineServer {
  /** Binds the socket again: its path has vanished. */
  rebind(): Promise<void>;
  close(): Promise<void>;
}

/** Listens; rejects when the socket cannot be bound. */
export async function serveEngine(options: EngineServerOptions): Promise<EngineServer> {
  const app: FastifyInstance = Fastify({ logger: false, forceCloseConnections: true });
  const { streams } = options;
  app.get('/v1/engine', () => options.status());
  app.get('/v1/streams', () => ({ schema: SCHEMA, streams: streams.rows() }));
  app.delete<{ Params: { id: string } }>('/v1/streams/:id', async (request, reply) => {
    if (streams.end(request.params.id, 'bmuxd streams')) return reply.code(202).send({ schema: SCHEMA });
    return reply
      .code(404)
      .type(PROBLEM_TYPE)
      .send(problemOf(fail('stream_unknown', { id: request.params.id }).data));
  });
  app.post('/v1/drain', async (_request, reply) => {
    options.drain();
    return reply.code(202).send({ schema: SCHEMA });
  });
  app.post('/v1/stop', async (_request, reply) => {
    // The answer leaves before the socket goes; whoever asked need not wait for it.
    reply.raw.once('close', options.stop);
    return reply.code(202).send({ schema: SCHEMA });
  });
  await app.ready();
  let bound = await bindSocket(app.server, options.socketPath);
  let forwarder: Server | undefined;
  return {
    rebind: async () => {
      forwarder?.close();
      forwarder = forwardTo(app.server);
      bound = await bindSocket(forwarder, options.socketPath);
    },
    close: async () => {
      await bound.unbind();
      forwarder?.close();
      await app.close();
    },
  };
}
