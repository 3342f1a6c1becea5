// Control's composition: what there is, what it is made of, and who tells whom.
import { join } from 'node:path';
import { whitelisted } from '../api/caller-env.ts';
import { withoutTargetSocket } from '../api/target-socket-env.ts';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { settledWithin } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { makeLogger, type LogLevel, type LogSink } from '../base/log.ts';
import { bmuxdPaths, type Env } from '../base/paths.ts';
import { watchFiles } from '../config/files/watch.ts';
import type { Settings } from '../config/settings/table.ts';
import { asFailure } from '../errors/fail.ts';
import { CallerFiles } from './contexts/caller-files.ts';
import { Contexts } from './contexts/contexts.ts';
import { makeEngines, takeOver, type Engines } from './engines/engines.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { Events } from './http/events.ts';
import { resources } from './http/resources.ts';
import { makeServer } from './http/server.ts';
import { StatusReport } from './http/status.ts';
import { InstanceLock } from './instance/instance-lock.ts';
import { makeRuntimeDir } from './instance/runtime-dir.ts';
import { SettingsInForce } from './instance/settings-in-force.ts';
import { listenOn, passedSockets } from './instance/socket-activation.ts';
import { ClientPlans } from './planning/client-plans.ts';
import type { PlanningDeps } from './planning/plan-stream.ts';
import { proxyFetch } from './planning/proxy-fetch.ts';
import { RequestPlanner } from './planning/request-planner.ts';
import { Shutdown } from './shutdown.ts';
import { ClientFile } from './target-sockets/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';

export interface ControlOptions {
  readonly env: Env;
  /** Working directory: relative paths in `env` start there. */
  readonly cwd: string;
  readonly version: string;
  readonly sink: LogSink;
  /** From the command line; wins over the settings. */
  readonly logLevel?: LogLevel | undefined;
  /** Ends a start that is under way: it rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

export interface Control {
  readonly socketPath: string;
  /** Leaves: engines drain, live streams go on. Resolves when the sockets are gone. Calling twice is safe. */
  close(): Promise<void>;
  reload(): Promise<void>;
  /** Resolves when a client has asked for everything to end, and everything has; or when another daemon has the runtime dir. */
  readonly stopped: Promise<void>;
}

/** Starts the broker. Rejects with the failure that the user should read; nothing is left behind then. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { env, cwd, version, sink } = options;
  const sinceMs = Date.now();
  const paths = bmuxdPaths(env);
  const passed = passedSockets(env, process.pid);
  // A daemon that is started where `bmuxd env` was evaluated must not take its own target socket for a server.
  const own = whitelisted(withoutTargetSocket(env));
  await makeRuntimeDir(paths);
  const inForce = await SettingsInForce.load({ path: paths.settings, logLevel: options.logLevel });
  const settings = (): Settings => inForce.now;
  const log = makeLogger({ level: inForce.level, sink, process: 'control' });
  const events = new Events();
  const event: Events['add'] = (happened) => {
    events.add(happened);
  };
  let instance: InstanceLock | undefined;
  const isOurs = async (): Promise<boolean> => (await instance?.isOurs()) ?? false;

  const contexts: Contexts = new Contexts({
    env,
    own,
    cwd,
    max: () => settings()['contexts.max'],
    isPinned: (key, agrees): boolean => reconciler.isUsed(key, agrees),
    log,
    onChange: (key) => {
      void reconciler.refreshContext(key);
      if (key === contexts.ownKey) keepWarm.refresh();
    },
    event,
  });
  const planning: PlanningDeps = { contexts, files: new CallerFiles(), settings, fetch: proxyFetch(env) };
  const planner = new RequestPlanner(planning);

  const plans = new ClientPlans({ ...planning, own: { env: own, cwd } });
  const reconciler: TargetSocketReconciler = new TargetSocketReconciler({
    dir: paths.dir,
    targets: plans,
    maxContexts: () => settings()['contexts.max'],
    clock: SYSTEM_CLOCK,
    log,
    event,
    mayTakeBack: isOurs,
    own: { env: own, cwd },
    file: new ClientFile({
      path: join(paths.stateDir, 'contexts.json'),
      warn: (message) => {
        log.warn(message);
      },
    }),
  });
  const engines: Engines = makeEngines({
    paths,
    version,
    env,
    settings,
    log,
    streamsFd: passed.streams,
    isOurs,
    event,
    onLog: (lines) => {
      sink.write(lines);
    },
    resolve: (requestId, header, signalOf) => planner.plan(requestId, header, signalOf),
    resolveAgain: (targetSocket) => reconciler.resolveAgain(targetSocket),
    onReady: (engine) => {
      reconciler.attach(engine);
      if (isOpen) takeOver(engines, log);
      keepWarm.refresh();
    },
    onLeave: (engine) => {
      reconciler.detach(engine);
    },
  });
  const keepWarm = new KeepWarm({
    settings,
    plan: (target) => plans.planFor({ target }),
    tell: (message) => {
      engines.supervisor.current?.tell(message);
    },
    log,
  });
  /** The target sockets that were remembered have been made. Until then older engines accept on their own. */
  let isOpen = false;

  const sayBrokenSettings = (): void => {
    const mistake = inForce.untold();
    if (mistake === undefined) return;
    const { code, detail } = mistake.data;
    log.warn({ code, detail }, 'settings are broken; the last good ones stay in force');
    event({ type: 'config broken', code, detail });
  };
  const reloadSettings = async (): Promise<void> => {
    await inForce.reload();
    sayBrokenSettings();
    log.level = inForce.level;
    engines.supervisor.current?.configure(settings());
    // What they say of a target is part of its destination.
    void reconciler.refresh();
    keepWarm.refresh();
  };
  const reload = async (): Promise<void> => {
    await reloadSettings();
    await contexts.reload();
    // Target sockets that cannot be made just now, for want of an engine, follow.
    await settledWithin(reconciler.refresh(), LIMITS.targetSocketMs);
    log.info('reloaded');
  };
  const status = new StatusReport({
    ...engines,
    contexts,
    settingsProblem: () => inForce.problem,
    settingsPath: paths.settings,
    socketPath: paths.controlSocket,
    version,
    sinceMs,
  });
  const app = await makeServer(
    resources({
      status,
      contexts,
      planner,
      plans,
      reconciler,
      events,
      engines,
      streamsSocket: paths.streamsSocket,
      planBudgetMs: () => settings()['control_plane.timeout'] + LIMITS.prepareMs,
      reload,
      stop: () => {
        void shutdown.stop();
      },
    }),
  );
  const watch = watchFiles({
    files: () => [paths.settings],
    onChange: () => {
      reloadSettings().catch((error: unknown) => {
        log.error({ err: asFailure(error).data }, 'reload failed');
      });
    },
  });
  let otherHasIt = (): void => {};
  const lost = new Promise<void>((resolve) => {
    otherHasIt = resolve;
  });
  const shutdown = new Shutdown({
    log,
    server: app.server,
    refuse: [planner, plans, reconciler, keepWarm, events],
    unbind: async () => {
      await engines.streamsSocket.close();
      await instance?.release();
    },
    targetSockets: {
      leave: () => {
        reconciler.leave();
      },
      close: () => reconciler.removeAll(),
    },
    clearTargetSockets: () => reconciler.clear(),
    engines: engines.supervisor,
    directory: engines.directory,
    watchers: [watch, contexts],
  });
  try {
    instance = await InstanceLock.claim({
      paths,
      server: app.server,
      activated: passed.control !== undefined,
      log,
      signal: options.signal,
      onLost: ({ data: { code, detail } }) => {
        log.error({ code, detail }, 'another bmuxd has this folder now; leaving it to that one');
        otherHasIt();
      },
    });
    if (passed.control !== undefined) await listenOn(app.server, passed.control);
    engines.streamsSocket.open();
    await engines.directory.sweep();
    engines.supervisor.start();
  } catch (error) {
    await shutdown.abandon();
    await app.close();
    throw error;
  }
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  sayBrokenSettings();
  void contexts
    .openOwn()
    .then(() => reconciler.open())
    .then(() => {
      isOpen = true;
      takeOver(engines, log);
      keepWarm.open();
    })
    .catch((error: unknown) => {
      log.error({ err: asFailure(error).data }, 'target sockets');
    });
  return {
    socketPath: paths.controlSocket,
    close: () => shutdown.close(),
    reload,
    stopped: Promise.race([shutdown.stopped, lost]),
  };
}
