// The engine's composition: what there is, what it is made of, and who tells whom.
import { join } from 'node:path';
import { ROUTINE_EVENTS, SCHEMA, type EngineStatus } from '../api/answers.ts';
import type { Failure } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import { makeLogger } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import type { Settings } from '../config/settings/table.ts';
import { addressOf } from '../engine-protocol/address.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';
import { HelloCache } from '../hello/hello-cache.ts';
import { ProtocolCache } from '../hello/protocol-cache.ts';
import { endGracefully } from '../transport/end.ts';
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
import { Connections } from './upstream/connections.ts';
import { openByDetection, type OpenDeps } from './upstream/open.ts';
import { Transports } from './upstream/transports.ts';
import { UpstreamSpares } from './upstream/upstream-spares.ts';
import { Upstreams } from './upstream/upstreams.ts';
import { WarmUps } from './upstream/warm-ups.ts';

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
  const connections = new Connections();
  const event: OpenDeps['event'] = (happened) => {
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
    ask: (route) => targetSockets.ask(route),
    tried: (route, failure) => {
      tried(addressOf(route), failure);
    },
  });
  const upstreams = new Upstreams({
    connections,
    roundTripMs: (route) => transports.roundTripMs(route),
    spares: (address) => spares.count(address),
    warmSinceMs: (route) => transports.warmSinceMs(route) ?? spares.sinceMs(addressOf(route)),
    isDialling: (route) => transports.isDialling(route),
    sparesAreKept: (plan, roundTripMs) => spares.areKept(plan, roundTripMs),
    streams: (address) => streams.live(address),
  });
  /** What the daemon does by itself is seen in the status; that it begins to fail is told. */
  const tried = (address: string, failure?: Failure): void => {
    if (!upstreams.tried(address, failure?.data) || failure === undefined) return;
    const { code, message } = failure;
    log.info({ address, code, causes: failure.data.causes }, 'cannot be kept warm just now');
    event({ type: 'connection failed', target: upstreams.targetAt(address), code, detail: message });
  };
  const network = new NetworkWatch({
    onChange: () => {
      log.info('the network has changed: what is warm is checked before its next use');
      event({ type: 'network changed' });
      transports.markStale();
      spares.markStale();
    },
  });

  const spares = new UpstreamSpares({
    settings: () => settings,
    taken: (address) => connections.taken(address),
    candidateOf: (address) => protocolCache.get(address),
    open: (plan, candidate, signal) => openByDetection(plan, opening, signal, [candidate]),
    trustOf: (route, label) => transports.trustOf(route, label),
    end: (stream) => {
      transports.end(endGracefully(stream, LIMITS.endMs));
    },
    tried,
    log: (what, details) => {
      log.debug(details, what);
    },
  });
  const opening: OpenDeps = {
    transports,
    protocolCache,
    helloCache: new HelloCache(),
    spares,
    connections,
    upstreams,
    log,
    event,
  };
  const streams = new Streams({
    ...opening,
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
  const warmUps = new WarmUps(opening);
  const targetSockets = new TargetSockets({
    log,
    serve: (plan, socket, renew) => {
      greet(socket, plan, { renew, add: (accepted) => streams.add(accepted), log });
    },
    destinationOf: (id) => control.destinationOf(id),
    hasControl: () => channel.isOpen(),
    renewed: (before, now) => {
      transports.moved(before.route, now);
      upstreams.moved(before, now);
    },
    left: (destination) => {
      warmUps.left(destination.address);
      spares.drop(destination.address);
      transports.left(destination);
      upstreams.left(destination);
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
        spares.close();
        transports.rest();
      },
      close: async () => {
        network.close();
        spares.close();
        warmUps.close();
        await spares.over();
        await transports.close();
        await protocolCache.flushed();
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
        warmUps.start(message.plan);
        break;
      case 'drop':
        spares.drop(message.plan.destination.address);
        transports.drop(message.plan.destination);
        break;
      case 'other engines':
        connections.setOtherEngines(message.connections);
        for (const address of Object.keys(message.connections)) spares.makeRoom(address);
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
