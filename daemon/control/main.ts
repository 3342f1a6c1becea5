// Creates the parts of the control process and connects them with each other.
import { join } from 'node:path';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import type { Control, ControlOptions } from './control.ts';
import { Engines } from './engines/engines.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { Events } from './http/events.ts';
import { resources } from './http/resources.ts';
import { OpenRequests } from './http/open-requests.ts';
import { peerCheck } from '../sockets/peer.ts';
import { makeServer } from './http/server.ts';
import { Instance } from './instance/instance.ts';
import { installedPackage } from './installed-package.ts';
import { StrayErrors } from './instance/stray-errors.ts';
import { MetricsListener } from './metrics/listener.ts';
import { makePlanning, type Planning } from './planning/planning.ts';
import { Reload } from './reload.ts';
import { IdleExit } from './service/idle-exit.ts';
import { stateText } from './service/service-manager.ts';
import { Shutdown } from './shutdown.ts';
import { start } from './start.ts';
import { lookAround } from './surroundings.ts';
import { ClientFile } from './target-sockets/clients/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';

/** Starts the broker. Rejects with the failure for the user, after everything that was started has been ended. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { version, sink, signal, early, replace = false } = options;
  const { paths, passed, env, own, manager, takesEnginesAlong, inForce, log, clients } =
    await lookAround(options);
  const settings = inForce.current;
  const events = new Events();
  const instance = new Instance({ paths, controlFd: passed.control, log });
  const installed = installedPackage({ version, env, log, mayRestart: !takesEnginesAlong });
  const common = { paths, version, env, own, settings, log, instance, takesEnginesAlong, event: events.add };
  const strayErrors = new StrayErrors({ source: process, clock: SYSTEM_CLOCK, log, instance });

  const planning: Planning = makePlanning({
    ...common,
    isPinned: (key, agrees): boolean => reconciler.isUsed(key, agrees),
    onChange: (key) => {
      void reconciler.refresh(key);
      if (key === contexts.ownKey) keepWarm.refresh();
    },
    onTrustChange: (change) => {
      engines.tell({ type: 'trust changed', ...change });
    },
  });
  const { contexts, http, planner, plans } = planning;
  const clientFile = new ClientFile({ path: join(paths.stateDir, 'contexts.json'), log });
  const reconciler: TargetSocketReconciler = new TargetSocketReconciler({
    ...common,
    dir: paths.dir,
    targets: plans,
    maxContexts: () => settings()['contexts.max'],
    clock: SYSTEM_CLOCK,
    file: clientFile,
  });
  const engines: Engines = new Engines({
    ...common,
    installed,
    early,
    streamsFd: passed.streams,
    sink,
    planner,
    targetSockets: reconciler,
    onReady: () => {
      keepWarm.refresh();
    },
  });
  const keepWarm = new KeepWarm({ ...common, plans, engines });
  const metrics = new MetricsListener({ port: () => settings()['metrics.port'], log });
  const reload = new Reload({
    ...common,
    settings: inForce,
    contexts,
    planning,
    targetSockets: reconciler,
    keepWarm,
    metrics,
    engines,
    manager,
  });
  const answers = resources({
    ...common,
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
      package: installed,
      'metrics.port': metrics,
    },
    reload,
    shutdown: () => shutdown,
  });
  const app = await makeServer(answers, clients);
  const idle = new IdleExit({ ...common, manager, engines, events, leave: () => shutdown.leave() });
  const shutdown: Shutdown = new Shutdown({
    ...common,
    planner,
    manager,
    server: app.server,
    requests: new OpenRequests(app.server),
    followed: events,
    refuse: [plans, reconciler, clientFile, keepWarm],
    alsoRefuse: [http, metrics, idle],
    engines,
    targetSockets: reconciler,
    watchers: [reload, contexts],
  });

  const { ready } = await start({
    ...common,
    mode: { replace, signal },
    app,
    contexts,
    plans,
    engines,
    keepWarm,
    targetSockets: reconciler,
    reload,
    openMetrics: () => {
      metrics.open(answers.metrics);
    },
    tellManager: () => {
      manager.ready({ isAnswering: () => instance.isAnswering(), state: () => stateText(answers) });
    },
    abandon: () => shutdown.abandon(),
  });
  return {
    socketPath: paths.controlSocket,
    onTerm: (signal) => shutdown.onTerm(settings().on_term, signal),
    close: () => shutdown.close(),
    reload: () => reload.all(),
    ready,
    stopped: Promise.race([shutdown.stopped, shutdown.after(instance.lost), strayErrors.broken]),
  };
}
