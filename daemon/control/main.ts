// Creates the parts of the control process and connects them with each other.
import { dirname, join } from 'node:path';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { settledWithin } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { packageRoot } from '../base/version.ts';
import { asFailure } from '../errors/fail.ts';
import type { Control, ControlOptions } from './control.ts';
import { Engines } from './engines/engines.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { Events } from './http/events.ts';
import { resources } from './http/resources.ts';
import { OpenRequests } from './http/open-requests.ts';
import { OwnClients } from '../sockets/own-clients.ts';
import { peerCheck } from '../sockets/peer.ts';
import { makeServer } from './http/server.ts';
import { Instance } from './instance/instance.ts';
import { endsEngines, ownProcess } from './instance/ends-engines.ts';
import { InstalledPackage } from './installed-package.ts';
import { StrayErrors } from './instance/stray-errors.ts';
import { MetricsListener } from './metrics/listener.ts';
import { makePlanning, type Planning } from './planning/planning.ts';
import { warmLikePredecessor } from './predecessor.ts';
import { Reload } from './reload.ts';
import { serviceManager, stateText, withoutManager } from './service/service-manager.ts';
import { Shutdown } from './shutdown.ts';
import { lookAround } from './surroundings.ts';
import { ClientFile } from './target-sockets/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';

/** Starts the broker. Rejects with the failure for the user, after everything that was started has been ended. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { version, sink, signal, replace = false } = options;
  const manager = serviceManager(options.env);
  const env = withoutManager(options.env);
  const takesEnginesAlong = endsEngines({ env: options.env, ...ownProcess() });
  const { paths, passed, own, inForce, log } = await lookAround(options);
  const settings = inForce.current;
  const events = new Events();
  const instance = new Instance({ paths, controlFd: passed.control, log });
  const strayErrors = new StrayErrors({ source: process, clock: SYSTEM_CLOCK, log, instance });

  const planning: Planning = makePlanning({
    env,
    own,
    settings,
    isPinned: (key, agrees): boolean => reconciler.isUsed(key, agrees),
    log,
    onChange: (key) => {
      void reconciler.refreshContext(key);
      if (key === contexts.ownKey) keepWarm.refresh();
    },
    onTrustChange: () => {
      engines.tell({ type: 'trust changed' });
    },
    event: events.add,
  });
  const { contexts, http, planner, plans } = planning;
  const clientFile = new ClientFile({ path: join(paths.stateDir, 'contexts.json'), log });
  const reconciler: TargetSocketReconciler = new TargetSocketReconciler({
    dir: paths.dir,
    targets: plans,
    maxContexts: () => settings()['contexts.max'],
    clock: SYSTEM_CLOCK,
    log,
    event: events.add,
    instance,
    own,
    file: clientFile,
  });
  const engines: Engines = new Engines({
    paths,
    version,
    env,
    settings,
    log,
    streamsFd: passed.streams,
    instance,
    event: events.add,
    sink,
    planner,
    targetSockets: reconciler,
    onReady: () => {
      keepWarm.refresh();
    },
  });
  const keepWarm = new KeepWarm({ settings, plans, engines, log });
  const metrics = new MetricsListener({ port: () => settings()['metrics.port'], log });
  const reload = new Reload({
    settings: inForce,
    contexts,
    files: planning.files,
    targetSockets: reconciler,
    keepWarm,
    metrics,
    engines,
    manager,
    event: events.add,
    log,
  });
  const answers = resources({
    paths,
    version,
    sinceMs: Date.now(),
    log: sink.place,
    settings: inForce,
    planning,
    reconciler,
    events,
    engines,
    parts: {
      control: strayErrors,
      log: sink,
      state: clientFile,
      sockets: peerCheck,
      'target sockets': reconciler,
      NODE_OPTIONS: engines.nodeOptions,
      'runtime dir': instance.runtimeDir,
      package: new InstalledPackage({ root: packageRoot(), running: version }),
      'metrics.port': metrics,
    },
    reload,
    stop: () => {
      void shutdown.stop();
    },
  });
  const app = await makeServer(
    answers,
    new OwnClients({ log, folders: [paths.dir, dirname(paths.controlSocket)] }),
  );
  const shutdown = new Shutdown({
    log,
    manager,
    server: app.server,
    requests: new OpenRequests(app.server),
    followed: events,
    refuse: [planner, plans, reconciler, clientFile, keepWarm, events, http, metrics],
    instance,
    engines,
    targetSockets: reconciler,
    watchers: [reload, contexts],
  });

  try {
    // The other daemon serves until everything is ready here. When it does not get ready, nothing has changed.
    if (replace) {
      await engines.start();
      await engines.ready(signal);
      await contexts.openOwn();
      await warmLikePredecessor({
        instanceSocket: paths.instanceSocket,
        planFor: (target) => plans.planFor({ target }),
        tell: (message) => {
          engines.tell(message);
        },
        upstreams: () => engines.upstreams(),
      });
    }
    await instance.claim(app.server, { signal, replace });
    if (!replace) await engines.start();
    engines.open();
    metrics.open(answers.metrics);
  } catch (error) {
    await shutdown.abandon();
    await app.close();
    throw error;
  }
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  reload.reportMistake();
  const openTargetSockets = async (): Promise<void> => {
    if (!replace) await contexts.openOwn();
    await reconciler.open();
    engines.takeOver();
    keepWarm.open();
  };
  const opened = openTargetSockets().catch((error: unknown) => {
    log.error({ err: asFailure(error).data }, 'target sockets');
  });
  const ready = Promise.all([engines.firstTried, settledWithin(opened, LIMITS.targetSocketMs)]).then(() => {
    manager.ready({ isAnswering: () => instance.isAnswering(), state: () => stateText(answers) });
  });
  return {
    socketPath: paths.controlSocket,
    onTerm: () => {
      const { on_term: onTerm } = settings();
      const stops = onTerm === 'stop' || (onTerm === 'auto' && takesEnginesAlong);
      return stops ? shutdown.stop(LIMITS.termMs) : shutdown.close();
    },
    close: () => shutdown.close(),
    reload: () => reload.all(),
    ready,
    stopped: Promise.race([shutdown.stopped, instance.lost, strayErrors.broken]),
  };
}
