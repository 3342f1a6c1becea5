// Creates the parts of the engine and connects them with each other.
import { dirname, join } from 'node:path';
import { SCHEMA } from '../api/answers.ts';
import { LIMITS } from '../base/limits.ts';
import { zstdProblem } from '../compression/zstd.ts';
import { irohProblem } from '../transport/iroh/endpoint.ts';
import type { Env } from '../base/paths.ts';
import { packageVersion } from '../base/version.ts';
import type { Settings } from '../config/settings/table.ts';
import type { EngineStart } from '../engine-protocol/messages.ts';
import { ProtocolCache } from '../hello/protocol-cache.ts';
import { BufferBudget } from '../splice/buffer-budget.ts';
import { OwnClients } from '../sockets/own-clients.ts';
import { EngineSockets } from './accept/engine-sockets.ts';
import { FairBound, MAX_WAITING } from './accept/fair-bound.ts';
import { serveEngine, type EngineServer } from './api.ts';
import type { Channel } from './control/channel.ts';
import { handleCommands } from './commands.ts';
import { ControlLink } from './control/control-link.ts';
import { Lifecycle } from './lifecycle.ts';
import { engineLog } from './log-sink.ts';
import { NetworkWatch } from './network-watch.ts';
import { StreamEnds } from './stream-ends.ts';
import { Streams } from './streams.ts';
import { Tally } from './metrics/tally.ts';
import { tellEvents, tellStatus } from './tell-events.ts';
import { OtherEngines } from './upstream/other-engines.ts';
import { Transports } from './upstream/transports.ts';
import { Upstreams } from './upstream/upstreams.ts';

/** Starts the engine; resolves with its lifecycle when control knows that it is ready. Rejects when its own socket cannot be bound. */
export async function runEngine(start: EngineStart, channel: Channel, env: Env): Promise<Lifecycle> {
  const { generation } = start;
  // Its own version, not that of control: an upgrade may have replaced the package since control was started.
  const identity = { generation, version: packageVersion(), sinceMs: Date.now() };
  let settings: Settings = start.settings;
  let api: EngineServer | undefined = undefined;
  const control = new ControlLink({ channel, controlSocket: start.controlSocket });
  const { log, sink, flush } = engineLog(start, control);
  const protocolCache = new ProtocolCache({ path: join(start.stateDir, 'protocol-cache.json'), log });
  await protocolCache.load();
  const event = tellEvents({ log, sink, control });
  // What most parts need.
  const common = { settings: (): Settings => settings, generation, log, event };
  const others = new OtherEngines(start);
  const transports = new Transports({
    ...common,
    env,
    network: () => network,
    ssh: {
      engineSocket: start.socketPath,
      generation,
      isAlive: others.isAlive,
      isLast: async () => lifecycle.isStopping || !(await others.any()),
    },
  });
  const upstreams: Upstreams = new Upstreams({
    ...common,
    transports,
    protocolCache,
    ask: (route) => sockets.ask(route),
  });
  const network: NetworkWatch = new NetworkWatch({
    onChange: (what) => {
      upstreams.networkChanged(what);
    },
  });

  const ends = new StreamEnds();
  const tally = new Tally(generation);
  const onIdle = (): void => {
    lifecycle.idle();
  };
  const maxWaiting = (): number => settings['streams.max_waiting'];
  const streams: Streams = new Streams({
    ...common,
    opening: new FairBound({ perKey: maxWaiting, total: MAX_WAITING }),
    upstreams,
    ends: transports.ends,
    told: ends,
    tally,
    clientBufferLimit: () => settings['streams.client_buffer_limit'],
    budget: new BufferBudget(() => settings['streams.client_buffer_total']),
    onIdle,
  });
  // The sockets of engines are in a folder of the runtime dir.
  const clients = new OwnClients({ log, folders: [dirname(dirname(start.socketPath))] });
  const sockets: EngineSockets = new EngineSockets({
    plan: (requestId, header, waiting) => {
      const budgetMs = settings['control_plane.timeout'] + LIMITS.prepareMs;
      return control.plan(requestId, header, { budgetMs, ...waiting });
    },
    streams,
    health: () => ({ schema: SCHEMA, pid: process.pid, ...identity }),
    planning: new FairBound({ perKey: maxWaiting, total: MAX_WAITING }),
    onIdle,
    destinationOf: (id) => control.destinationOf(id),
    hasControl: () => channel.isOpen(),
    upstreams,
    clients,
    tally,
    event,
    log,
  });
  const lifecycle: Lifecycle = new Lifecycle({
    ...common,
    control,
    streams,
    sockets,
    upstreams,
    network,
    closeApi: async () => api?.close(),
    exit: () => {
      protocolCache.close();
      control.tell({ type: 'tally', tally: tally.counted(streams, sockets) });
      flush();
      channel.exit(0);
    },
  });
  handleCommands({
    channel,
    control,
    sockets,
    upstreams,
    lifecycle,
    configure: (next) => {
      settings = next;
      log.level = settings['log.level'];
    },
  });
  api = await serveEngine({
    socketPath: start.socketPath,
    identity,
    streams,
    ends,
    sockets,
    tally,
    upstreams,
    lifecycle,
    clients,
    log,
    problems: () => [sink.problem, protocolCache.problem, zstdProblem, irohProblem],
  }).catch((error: unknown) => {
    flush();
    throw error;
  });
  tellStatus(control, generation, api.news);
  return lifecycle;
}
