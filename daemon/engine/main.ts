// The engine's composition: transports, learnt facts, streams, its own socket, and when it leaves.
import { Server } from 'node:net';
import { join } from 'node:path';
import { textOf, type Failure } from '../base/failure.ts';
import { makeLogger } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import { Arrivals } from './accept/arrivals.ts';
import type { Channel } from './channel.ts';
import { TargetSockets } from './accept/target-sockets.ts';
import { adopt } from '../sockets/accepted-socket.ts';
import { ProtocolCache } from '../hello/protocol-cache.ts';
import { addressOf } from '../engine-protocol/address.ts';
import { HelloCache } from '../hello/hello-cache.ts';
import { NetworkWatch } from './network-watch.ts';
import { Connections } from './upstream/connections.ts';
import { ROUTINE_EVENTS, SCHEMA, type EngineStatus } from '../api/answers.ts';
import { isToEngine, type EngineStart } from '../engine-protocol/messages.ts';
import { LIMITS } from '../base/limits.ts';
import type { Settings } from '../config/settings/table.ts';
import { UpstreamSpares } from './upstream/upstream-spares.ts';
import { openByDetection, type OpenDeps } from './upstream/open.ts';
import { engineSink } from './log-sink.ts';
import { endGracefully } from '../transport/end.ts';
import { Outbox } from './outbox.ts';
import { Upstreams } from './upstream/upstreams.ts';
import { serveEngine, type EngineServer } from './api.ts';
import { Streams } from './streams.ts';
import { Transports } from './upstream/transports.ts';
import { WarmUps } from './upstream/warm-ups.ts';

export interface Engine {
  /** Something unexpected was thrown: takes no more streams, finishes those it has. */
  unwell(error: unknown): void;
  /** Ends every stream gracefully, bounded, and leaves. */
  stop(): void;
}

/**
 * Lifecycle: starting -> serving -> draining (control gone, or told so) -> closed. While draining the streams live on;
 * after the last one the engine waits `engine.drain_grace` and leaves.
 */
export async function runEngine(start: EngineStart, channel: Channel, env: Env): Promise<Engine> {
  const sinceMs = Date.now();
  let settings: Settings = start.settings;
  let state: 'serving' | 'draining' = 'serving';
  let stopping = false;
  let leaving = false;
  let grace: NodeJS.Timeout | undefined;
  let server: EngineServer | undefined = undefined;
  const outbox = new Outbox(channel, start.together === true);
  const sink = engineSink({
    file: join(start.stateDir, 'engine.log'),
    send: (message, sent) => outbox.send(message, sent),
    flush: () => {
      outbox.flush();
    },
  });
  const log = makeLogger({ level: settings['log.level'], process: `engine ${start.generation}`, sink });
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
    outbox.send({ type: 'event', event: { ...happened, atMs: Date.now() } });
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

  const leave = async (): Promise<void> => {
    if (leaving) return;
    leaving = true;
    clearTimeout(grace);
    network.close();
    targetSockets.closeAll();
    spares.close();
    warmUps.close();
    await Promise.race([
      spares
        .over()
        .then(() => transports.close())
        .then(() => protocolCache.flushed()),
      new Promise((resolve) => setTimeout(resolve, LIMITS.stopMs).unref()),
    ]).catch((error: unknown) => log.warn({ err: textOf(error) }, 'closing the transports'));
    // Last, since whoever waits for this engine looks for its socket.
    await server
      ?.close()
      .catch((error: unknown) => log.warn({ err: textOf(error) }, 'closing the engine socket'));
    log.info('engine leaves');
    sink.flush();
    outbox.flush();
    channel.exit(0);
  };
  const maybeLeave = (): void => {
    if (state !== 'draining' || streams.size > 0) return;
    clearTimeout(grace);
    // An orphan goes on accepting on its target sockets, until a new control has taken the paths over or this has passed.
    const seconds = targetSockets.size > 0 ? settings['engine.orphan_grace'] : settings['engine.drain_grace'];
    // The client of the last stream may still ask how that ended.
    const ms = Math.max(seconds * 1000, LIMITS.endAskedMs);
    grace = setTimeout(() => {
      if (streams.size === 0) void leave();
    }, ms);
  };
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
    generation: start.generation,
    spill: () => settings['streams.client_buffer_limit'],
    onIdle: maybeLeave,
  });
  const drain = (why: string): void => {
    if (state === 'draining') return;
    state = 'draining';
    log.info({ why, streams: streams.size }, 'engine drains');
    maybeLeave();
  };
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    state = 'draining';
    outbox.send({ type: 'unwell', why: 'it was told to end' });
    targetSockets.closeAll();
    const all = streams.endAll('bmuxd stop');
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, LIMITS.stopMs).unref())]);
    await leave();
  };
  const status = (): EngineStatus => ({
    schema: SCHEMA,
    engine: {
      generation: start.generation,
      pid: process.pid,
      version: start.version,
      sinceMs,
      state,
      streams: streams.size,
    },
    // One that has been taken over speaks only of what it still holds.
    upstreams: upstreams.rows().filter(({ connections }) => state === 'serving' || connections > 0),
  });

  const arrivals = new Arrivals({
    log,
    add: (asked) => {
      streams.add(asked);
    },
    send: (message) => {
      outbox.send(message);
    },
  });
  const warmUps = new WarmUps(opening);
  const targetSockets = new TargetSockets({
    log,
    serve: (plan, socket, renew) => {
      arrivals.greet(plan, socket, renew);
    },
    stale: (targetSocket) => outbox.send({ type: 'stale target socket', targetSocket }),
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
  const takenOver = (): void => {
    drain('told so');
    // Whoever has just looked the path up may still be on the way.
    setTimeout(() => {
      targetSockets.closeAll();
      // Nobody asks this engine any more; another one has the warmth, and the places at the servers.
      spares.close();
      transports.rest();
      maybeLeave();
    }, LIMITS.takenOverMs);
  };
  channel.onMessage((message, handle) => {
    if (!isToEngine(message)) return;
    switch (message.type) {
      case 'stream':
        // Not taken when stopping: it goes to the next engine when this one has left.
        if (stopping) adopt(handle)?.destroy();
        else arrivals.take(message, handle);
        break;
      case 'target socket':
        targetSockets.open(message.targetSocket, message, handle instanceof Server ? handle : undefined);
        break;
      case 'warm':
        warmUps.start(message.plan);
        break;
      case 'drop':
        spares.drop(message.plan.destination.address);
        transports.drop(message.plan.destination);
        break;
      case 'close target socket':
        targetSockets.close(message.targetSocket);
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
        takenOver();
        break;
      case 'stop':
        void stop();
        break;
    }
  });
  channel.onGone(() => {
    drain('control is gone');
  });
  server = await serveEngine({
    socketPath: start.socketPath,
    log,
    streams,
    status,
    drain: takenOver,
    stop: () => {
      void stop();
    },
  }).catch((error: unknown) => {
    sink.flush();
    outbox.flush();
    throw error;
  });
  outbox.send({ type: 'ready', generation: start.generation });
  return {
    unwell: (error) => {
      log.error(
        { err: textOf(error), stack: error instanceof Error ? error.stack : undefined },
        'unexpected error in the engine',
      );
      outbox.send({ type: 'unwell', why: textOf(error) });
      drain('an unexpected error');
    },
    stop: () => {
      void stop();
    },
  };
}
