// Creates the parts of the engine and connects them with each other.
import { join } from 'node:path';
import { ROUTINE_EVENTS, SCHEMA } from '../api/answers.ts';
import { LIMITS } from '../base/limits.ts';
import { makeLogger } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import type { Settings } from '../config/settings/table.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';
import { ProtocolCache } from '../hello/protocol-cache.ts';
import { EngineSockets } from './accept/engine-sockets.ts';
import { serveEngine, type EngineServer } from './api.ts';
import type { Channel } from './channel.ts';
import { handleCommands } from './commands.ts';
import { ControlLink } from './control-link.ts';
import { Lifecycle } from './lifecycle.ts';
import { engineSink } from './log-sink.ts';
import { NetworkWatch } from './network-watch.ts';
import { Streams } from './streams.ts';
import { Transports } from './upstream/transports.ts';
import { Upstreams, type UpstreamsOptions } from './upstream/upstreams.ts';

export interface Engine {
  /** For an unexpected error: the engine accepts no more streams, and exits after those that it has. */
  retire(error: unknown): void;
  /** Ends every stream gracefully within `LIMITS.stopMs`, then exits. */
  stop(): void;
}

/** Starts the engine; resolves when control knows that it is ready. Rejects when its own socket cannot be bound. */
export async function runEngine(start: EngineStart, channel: Channel, env: Env): Promise<Engine> {
  const sinceMs = Date.now();
  const { generation, version } = start;
  let settings: Settings = start.settings;
  let api: EngineServer | undefined = undefined;
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
    // The log lines about an event are sent before it: a user who was refused may read the log right away.
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
  const upstreams: Upstreams = new Upstreams({
    transports,
    protocolCache,
    settings: () => settings,
    log,
    event,
    ask: (route) => sockets.ask(route),
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
  const sockets: EngineSockets = new EngineSockets({
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
    destinationOf: (id) => control.destinationOf(id),
    hasControl: () => channel.isOpen(),
    upstreams,
    log,
  });
  const lifecycle: Lifecycle = new Lifecycle({
    settings: () => settings,
    log,
    retiring: (why) => {
      control.tell({ type: 'retiring', why });
    },
    busy: () => streams.size > 0 || sockets.waiting > 0,
    endStreams: (who) => streams.endAll(who),
    sockets,
    warm: {
      retire: () => {
        upstreams.retire();
      },
      close: async () => {
        network.close();
        await upstreams.close();
      },
    },
    closeApi: async () => api?.close(),
    exit: () => {
      sink.flush();
      control.flush();
      channel.exit(0);
    },
  });
  handleCommands({
    control,
    sockets,
    upstreams,
    lifecycle,
    configure: (next) => {
      settings = next;
      log.level = settings['log.level'];
    },
  });
  channel.onGone(() => {
    lifecycle.drain('control is gone');
  });
  api = await serveEngine({
    socketPath: start.socketPath,
    identity: { generation, version, sinceMs },
    streams,
    upstreams,
    lifecycle,
    log,
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
