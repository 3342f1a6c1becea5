// Creates the parts of the control process and connects them with each other.
import { join } from 'node:path';
import { whitelisted } from '../api/caller-env.ts';
import { withoutTargetSocket } from '../api/target-socket-env.ts';
import type { StatusProblem } from '../api/answers.ts';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { makeLogger, type LogLevel, type LogSink } from '../base/log.ts';
import { bmuxdPaths, type Env } from '../base/paths.ts';
import type { Settings } from '../config/settings/table.ts';
import type { Failure } from '../base/failure.ts';
import { asFailure } from '../errors/fail.ts';
import { makeEngines, takeOver, type Engines } from './engines/engines.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { Events } from './http/events.ts';
import { resources } from './http/resources.ts';
import { makeServer } from './http/server.ts';
import { InstanceLock } from './instance/instance-lock.ts';
import { makeRuntimeDir } from './instance/runtime-dir.ts';
import { StrayErrors } from './instance/stray-errors.ts';
import { SettingsInForce } from './instance/settings-in-force.ts';
import { listenOn, passedSockets } from './instance/socket-activation.ts';
import { makePlanning, type Planning } from './planning/planning.ts';
import { Reload } from './reload.ts';
import { Shutdown } from './shutdown.ts';
import { ClientFile } from './target-sockets/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';

export interface ControlOptions {
  readonly env: Env;
  /** Working directory. Relative paths in `env` are resolved against it. */
  readonly cwd: string;
  readonly version: string;
  readonly sink: LogSink;
  /** Level from the command line. It overrides the setting `log.level`. */
  readonly logLevel?: LogLevel | undefined;
  /** Ends a start that is under way: it rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

export interface Control {
  readonly socketPath: string;
  /** Ends control; engines drain, and live streams go on. Resolves when the sockets are gone. May be called twice. */
  close(): Promise<void>;
  reload(): Promise<void>;
  /**
   * Resolves when a client has asked the daemon to stop and all has ended, or when another daemon has taken over the runtime dir. Rejects
   * when control must exit because of unexpected errors.
   */
  readonly stopped: Promise<void>;
}

/** Starts the broker. Rejects with the failure for the user, after everything that was started has been ended. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { env, cwd, version, sink } = options;
  const sinceMs = Date.now();
  const paths = bmuxdPaths(env);
  const passed = passedSockets(env, process.pid);
  // A daemon started in a shell in which `bmuxd env` was evaluated would otherwise take its own target socket for a local server.
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
  let giveUp = (_why: Failure): void => {};
  const broken = new Promise<never>((_resolve, reject) => {
    giveUp = reject;
  });
  const strayErrors = new StrayErrors({
    source: process,
    clock: SYSTEM_CLOCK,
    log,
    isAnswering: async () => (await instance?.isAnswering()) ?? true,
    giveUp: (why) => {
      log.fatal({ code: why.code, why: why.message }, 'control gives up');
      giveUp(why);
    },
  });
  const isOurs = async (): Promise<boolean> => (await instance?.isOurs()) ?? false;

  const planning: Planning = makePlanning({
    env,
    own,
    cwd,
    settings,
    isPinned: (key, agrees): boolean => reconciler.isUsed(key, agrees),
    log,
    onChange: (key) => {
      void reconciler.refreshContext(key);
      if (key === contexts.ownKey) keepWarm.refresh();
    },
    event,
  });
  const { contexts, planner, plans } = planning;
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
  /** True when the saved target sockets have been made. Until then the engines of an earlier control go on accepting on theirs. */
  let isOpen = false;

  const reload = new Reload({
    settings: inForce,
    path: paths.settings,
    contexts,
    targetSockets: reconciler,
    keepWarm,
    configureEngine: (next) => {
      engines.supervisor.current?.configure(next);
    },
    event,
    log,
  });
  const app = await makeServer(
    resources({
      paths,
      version,
      sinceMs,
      settings: inForce,
      planning,
      reconciler,
      events,
      engines,
      problems: () => problemsOf({ control: strayErrors }),
      reload: () => reload.all(),
      stop: () => {
        void shutdown.stop();
      },
    }),
  );
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
    watchers: [reload, contexts],
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
  reload.reportMistake();
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
    reload: () => reload.all(),
    stopped: Promise.race([shutdown.stopped, lost, broken]),
  };
}

/** The causes of `degraded` that these parts of control have now, by the name of the part. */
function problemsOf(
  parts: Readonly<Record<string, { readonly problem: Failure | undefined }>>,
): StatusProblem[] {
  return Object.entries(parts).flatMap(([where, { problem }]) =>
    problem === undefined ? [] : [{ where, failure: problem.data }],
  );
}
