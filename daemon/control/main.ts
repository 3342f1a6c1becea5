// Creates the parts of the control process and connects them with each other.
import { join } from 'node:path';
import { whitelisted } from '../api/caller-env.ts';
import { withoutTargetSocket } from '../api/target-socket-env.ts';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { makeLogger } from '../base/log.ts';
import { bmuxdPaths } from '../base/paths.ts';
import type { Settings } from '../config/settings/table.ts';
import { asFailure } from '../errors/fail.ts';
import type { Control, ControlOptions } from './control.ts';
import { Engines } from './engines/engines.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { Events } from './http/events.ts';
import { resources } from './http/resources.ts';
import { OwnClients } from '../sockets/own-clients.ts';
import { loadPeerCheck, peerCheck } from '../sockets/peer.ts';
import { makeServer } from './http/server.ts';
import { Instance } from './instance/instance.ts';
import { makeRuntimeDir, warnWhenShared } from './instance/runtime-dir.ts';
import { SettingsInForce } from './instance/settings-in-force.ts';
import { StrayErrors } from './instance/stray-errors.ts';
import { passedSockets } from './instance/socket-activation.ts';
import { makePlanning, type Planning } from './planning/planning.ts';
import { Reload } from './reload.ts';
import { Shutdown } from './shutdown.ts';
import { ClientFile } from './target-sockets/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';

/** Starts the broker. Rejects with the failure for the user, after everything that was started has been ended. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { env, cwd, version, sink, logLevel } = options;
  const sinceMs = Date.now();
  const paths = bmuxdPaths(env);
  const passed = passedSockets(env, process.pid);
  // A daemon started in a shell in which `bmuxd env` was evaluated would otherwise take its own target socket for a local server.
  const own = { env: whitelisted(withoutTargetSocket(env)), cwd };
  const inForce = await SettingsInForce.load({ path: paths.settings, logLevel });
  const settings = (): Settings => inForce.now;
  const log = makeLogger({ level: inForce.level, sink, process: 'control' });
  await makeRuntimeDir(paths, log);
  const events = new Events();
  const event = events.add;
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
    event,
  });
  const { contexts, http, planner, plans } = planning;
  const clientFile = new ClientFile({ path: join(paths.stateDir, 'contexts.json'), log });
  const reconciler: TargetSocketReconciler = new TargetSocketReconciler({
    dir: paths.dir,
    targets: plans,
    maxContexts: () => settings()['contexts.max'],
    clock: SYSTEM_CLOCK,
    log,
    event,
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
    event,
    sink,
    planner,
    targetSockets: reconciler,
    onReady: () => {
      keepWarm.refresh();
    },
  });
  const keepWarm = new KeepWarm({ settings, plans, engines, log });
  const reload = new Reload({
    settings: inForce,
    contexts,
    files: planning.files,
    targetSockets: reconciler,
    keepWarm,
    engines,
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
      parts: { control: strayErrors, log: sink, state: clientFile, sockets: peerCheck },
      reload,
      stop: () => {
        void shutdown.stop();
      },
    }),
    new OwnClients(log),
  );
  const shutdown = new Shutdown({
    log,
    server: app.server,
    refuse: [planner, plans, reconciler, clientFile, keepWarm, events, http],
    instance,
    engines,
    targetSockets: reconciler,
    watchers: [reload, contexts],
  });

  try {
    await instance.claim(app.server, options.signal);
    await engines.start();
  } catch (error) {
    await shutdown.abandon();
    await app.close();
    throw error;
  }
  // While the engine starts.
  loadPeerCheck();
  warnWhenShared(paths.dir, log);
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  reload.reportMistake();
  const openTargetSockets = async (): Promise<void> => {
    await contexts.openOwn();
    await reconciler.open();
    engines.takeOver();
    keepWarm.open();
  };
  openTargetSockets().catch((error: unknown) => {
    log.error({ err: asFailure(error).data }, 'target sockets');
  });
  return {
    socketPath: paths.controlSocket,
    close: () => shutdown.close(),
    reload: () => reload.all(),
    stopped: Promise.race([shutdown.stopped, instance.lost, strayErrors.broken]),
  };
}
