// The engine's composition: what there is, what it is made of, and who tells whom.
import { join } from 'node:path';
import { ROUTINE_EVENTS, SCHEMA, type EngineStatus } from '../api/answers.ts';
import { LIMITS } from '../base/limits.ts';
import { makeLogger } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import type { Settings } from '../config/settings/table.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';
import { ProtocolCache } from '../hello/protocol-cache.ts';
import { StreamsSocket } from './accept/streams-socket.ts';
import { greet } from './accept/target-socket-client.ts';
import { TargetSockets } from './accept/target-sockets.ts';
import { serveEngine, type EngineServer } from './api.ts';
import type { Channel } from './channel.ts';
import { ControlLink } from './control-link.ts';
import { Lifecycle } from './lifecycle.ts';
import { engineSink } from './log-sink.ts';
import { NetworkWatch } from './network-watch.ts';
import { Streams } from './streams.ts';
import { Transports } from './upstream/transports.ts';
import { Upstreams, type UpstreamsOptions } from './upstream/upstreams.ts';

export interface Engine {
  /** Something unexpected was thrown: takes no more streams, finishes those it has. */
  retire(error: unknown): void;
  /** Ends every stream gracefully, bounded, and leaves. */
  stop(): void;
}

/** Starts the engine; resolves when control knows that it is ready. Rejects when its own socket cannot be bound. */
export async function runEngine(start: EngineStart, channel: Channel, env: Env): Promise<Engine> {
  const sinceMs = Date.now();
  const { generation, version } = start;
  let settings: Settings = start.settings;
  let server: EngineServer | undefined = undefined;
  const control = new ControlLink({ channel, controlSocket: start.controlSocket });
  const sink = engineSink({
    file: join(start.stateDir, 'engine.log'),
    send: (message, sent) => control.tell(message, sent),
    flush: () => {
      control.flush();
    },
  });
  const log = makeLogger({ level: settings['log.level'], process: `engine ${generation}`, sink });
  const protocolCache = new ProtocolCache({
    path: join(start.stateDir, 'protocol-cache.json'),
    warn: (message) => {
      log.warn(message);
    },
  });
  await protocolCache.load();
  const event: UpstreamsOptions['event'] = (happened) => {
    // What the log says of it must not come later: whoever was refused may look there in the next moment.
    if (!ROUTINE_EVENTS.has(happened.type)) sink.flush();
    control.tell({ type: 'event', event: { ...happened, atMs: Date.now() } });
  };
  const transports = new Transports({
    settings: () => settings,
    env,
    event: (happened) => {
      const { target, detail } = happened;
      if (happened.type === 'connection lost') log.info({ target, why: detail }, 'connection lost');
      event(happened);
    },
  });
  const upstreams = new Upstreams({
    transports,
    protocolCache,
    settings: () => settings,
    log,
    event,
    ask: (route) => targetSockets.ask(route),
  });
  const network = new NetworkWatch({
    onChange: () => {
      log.info('the network has changed: what is warm is checked before its next use');
      event({ type: 'network changed' });
      upstreams.markStale();
    },
  });

  const streams = new Streams({
    upstreams,
    ends: transports.ends,
    log,
    event,
    generation,
    clientBufferLimit: () => settings['streams.client_buffer_limit'],
    onIdle: () => {
      lifecycle.idle();
    },
  });
  const streamsSocket = new StreamsSocket({
    plan: (requestId, header, signal) => {
      const budgetMs = settings['control_plane.timeout'] + LIMITS.prepareMs;
      return control.plan(requestId, header, { budgetMs, signal });
    },
    add: (accepted) => {
      streams.add(accepted);
    },
    health: () => ({ schema: SCHEMA, generation, pid: process.pid, version, sinceMs }),
    maxWaiting: () => settings['streams.max_waiting'],
    onIdle: () => {
      lifecycle.idle();
    },
    log,
  });
  const targetSockets = new TargetSockets({
    log,
    serve: (plan, socket, renew) => {
      greet(socket, plan, { renew, add: (accepted) => streams.add(accepted), log });
    },
    destinationOf: (id) => control.destinationOf(id),
    hasControl: () => channel.isOpen(),
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
  const lifecycle: Lifecycle = new Lifecycle({
    settings: () => settings,
    log,
    retiring: (why) => {
      control.tell({ type: 'retiring', why });
    },
    busy: () => streams.size > 0 || streamsSocket.waiting > 0,
    endStreams: (who) => streams.endAll(who),
    sockets: {
      hasTargetSockets: () => targetSockets.size > 0,
      closeAll: () => {
        streamsSocket.close();
        targetSockets.closeAll();
      },
      refuseWaiting: () => {
        streamsSocket.refuseWaiting();
      },
    },
    warm: {
      retire: () => {
        upstreams.retire();
      },
      close: async () => {
        network.close();
        await upstreams.close();
      },
    },
    closeApi: async () => server?.close(),
    exit: () => {
      sink.flush();
      control.flush();
      channel.exit(0);
    },
  });
  const status = (): EngineStatus => {
    const { state } = lifecycle;
    return {
      schema: SCHEMA,
      engine: { generation, pid: process.pid, version, sinceMs, state, streams: streams.size },
      // One that has been taken over speaks only of what it still holds.
      upstreams: upstreams.rows().filter((row) => state === 'serving' || row.connections > 0),
    };
  };
  control.onMessage((message, socket) => {
    switch (message.type) {
      case 'start':
        break;
      case 'listen':
        if (socket === undefined) break;
        if (message.socket.kind === 'streams') streamsSocket.listen(socket);
        else targetSockets.listen(message.socket.targetSocket, message.socket, socket);
        control.tell({ type: 'listening', id: message.id });
        break;
      case 'target socket':
        targetSockets.update(message.targetSocket, message);
        break;
      case 'close target socket':
        targetSockets.close(message.targetSocket);
        break;
      case 'warm':
        upstreams.for(message.plan.destination).warm(message.plan);
        break;
      case 'drop':
        upstreams.drop(message.plan.destination);
        break;
      case 'other engines':
        upstreams.setOtherEngines(message.connections);
        break;
      case 'settings':
        settings = message.settings;
        log.level = settings['log.level'];
        break;
      case 'drain':
        lifecycle.takenOver();
        break;
      case 'stop':
        void lifecycle.stop();
        break;
    }
  });
  channel.onGone(() => {
    lifecycle.drain('control is gone');
  });
  server = await serveEngine({
    socketPath: start.socketPath,
    log,
    streams,
    status,
    drain: () => {
      lifecycle.takenOver();
    },
    stop: () => {
      void lifecycle.stop();
    },
  }).catch((error: unknown) => {
    sink.flush();
    control.flush();
    throw error;
  });
  control.tell({ type: 'ready', generation });
  return {
    retire: (error) => {
      lifecycle.retire(error);
    },
    stop: () => {
      void lifecycle.stop();
    },
  };
}
