// The engine's own socket, `engines/{generation}.sock`: how a later control sees, lists and ends the streams of this one. The engine itself looks after
// it: control may be another one by now, or none.
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { textOf } from '../base/failure.ts';
import type { Logger } from '../base/log.ts';
import { fail } from '../errors/fail.ts';
import { PROBLEM_TYPE, problemOf } from '../errors/problem.ts';
import { SCHEMA, type EngineStatus, type StreamEnd } from '../api/answers.ts';
import { KeptSocket } from '../sockets/kept-socket.ts';
import type { Streams } from './streams.ts';

export interface EngineServerOptions {
  readonly socketPath: string;
  readonly log: Logger;
  readonly streams: Streams;
  readonly status: () => EngineStatus;
  /** Takes no more streams and leaves after the last one. */
  readonly drain: () => void;
  /** Ends all streams gracefully and leaves. */
  readonly stop: () => void;
}

export interface EngineServer {
  close(): Promise<void>;
}

/** A folder that somebody else made, in a temp folder of all users, is none to bind in. */
async function isOurs(folder: string): Promise<boolean> {
  const found = await lstat(folder).catch(() => undefined);
  return found?.isDirectory() === true && found.uid === process.getuid?.();
}

/** Listens; rejects when the socket cannot be bound. */
export async function serveEngine(options: EngineServerOptions): Promise<EngineServer> {
  const app: FastifyInstance = Fastify({ logger: false, forceCloseConnections: true });
  const { streams } = options;
  app.get('/v1/engine', () => options.status());
  app.get('/v1/streams', () => ({ schema: SCHEMA, streams: streams.rows() }));
  app.get<{ Params: { id: string } }>('/v1/streams/:id/end', ({ params }): StreamEnd => {
    const lost = streams.lost(params.id);
    return { schema: SCHEMA, ...(lost === undefined ? {} : { lost }) };
  });
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
  const socket = await KeptSocket.bind({
    server: app.server,
    path: options.socketPath,
    direct: true,
    // Control makes the folder again, and checks whose it is; until then there is nothing to bind in.
    whenGone: async (bindAgain) => {
      if (await isOurs(dirname(options.socketPath))) await bindAgain();
    },
    onError: (error) => {
      options.log.debug({ err: textOf(error) }, 'binding the engine socket again');
    },
  });
  return {
    close: async () => {
      await socket.close();
      await app.close();
    },
  };
}
