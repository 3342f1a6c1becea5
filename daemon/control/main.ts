// Control's composition: home, settings, contexts, engines, the control socket, and how it leaves.
import { asFailure } from '../errors/fail.ts';
import { join } from 'node:path';
import { makeLogger, type LogLevel, type LogSink } from '../base/log.ts';
import { inTime } from '../base/async/deadline.ts';
import { bmuxdPaths, type Env } from '../base/paths.ts';
import { withoutCredentials } from '../base/redact.ts';
import { watchFiles } from '../config/files/watch.ts';
import { HandoffSender } from '../sockets/sender.ts';
import { LIMITS } from '../base/limits.ts';
import { whitelisted } from '../api/request.ts';
import type { Settings } from '../config/settings/table.ts';
import { isActivated, listenActivated } from './instance/socket-activation.ts';
import { withoutTargetSocket } from '../api/target-socket-env.ts';
import { TargetSockets } from './target-sockets/target-sockets.ts';
import { Shutdown } from './shutdown.ts';
import { Events } from './http/events.ts';
import { KeepWarm } from './engines/keep-warm.ts';
import { KnownContexts } from './target-sockets/client-file.ts';
import { TargetSocketReconciler } from './target-sockets/reconciler.ts';
import { CallerFiles } from './contexts/caller-files.ts';
import { Contexts } from './contexts/contexts.ts';
import { EngineUsage } from './engines/usage.ts';
import { EngineSupervisor } from './engines/supervisor.ts';
import { EngineDirectory } from './engines/engine-directory.ts';
import { makeRuntimeDir } from './instance/runtime-dir.ts';
import { InstanceLock } from './instance/instance-lock.ts';
import { proxyFetch } from './planning/proxy-fetch.ts';
import { StatusReport } from './http/status.ts';
import { makeServer } from './http/server.ts';
import { SettingsInForce } from './instance/settings-in-force.ts';
import { listTargets } from './planning/list-targets.ts';
import { upgradeHandler } from './http/upgrade.ts';

export interface ControlOptions {
  readonly env: Env;
  /** Working directory: relative paths in `env` start there. */
  readonly cwd: string;
  readonly version: string;
  readonly sink: LogSink;
  /** From the command line; wins over the settings. */
  readonly logLevel?: LogLevel | undefined;
}

export interface Control {
  readonly socketPath: string;
  /** Leaves: engines drain, live streams go on. Resolves when the socket is gone. Calling twice is safe. */
  close(): Promise<void>;
  reload(): Promise<void>;
  /** Resolves when somebody asked over the control socket for everything to end, and everything has; or when another daemon has the dir. */
  readonly stopped: Promise<void>;
}

/** Starts the broker. Rejects with the failure that the user should read; nothing is left behind then. */
export async function runControl(options: ControlOptions): Promise<Control> {
  const { env, cwd, version, sink } = options;
  const sinceMs = Date.now();
  const paths = bmuxdPaths(env);
  // A daemon that is started where `bmuxd env` was evaluated must not take its own target socket for a server.
  const own = whitelisted(withoutTargetSocket(env));
  await makeRuntimeDir(paths);
  const inForce = await SettingsInForce.load({ path: paths.settings, logLevel: options.logLevel });
  const settings = (): Settings => inForce.now;
  const log = makeLogger({ level: inForce.level, sink, process: 'control' });
  const sender = new HandoffSender({ maxWaiting: () => settings()['streams.max_waiting'] });
  const writeLine = (line: string): void => {
    sink.write(line);
  };
  const events = new Events();
  let instanceLock: InstanceLock | undefined;
  const targetSockets = new TargetSockets({
    log,
    mayTakeBack: async () => (await instanceLock?.isOurs()) ?? false,
    event: (event) => {
      events.add(event);
    },
  });
  const generations = new EngineDirectory({ dir: paths.enginesDir });
  const engines = new EngineSupervisor({
    paths,
    version,
    env,
    settings,
    sender,
    log,
    writeLine,
    onReady: (engine) => {
      targetSockets.attach(engine);
      events.add({ type: 'engine ready' });
      usage.look();
      takeOver();
      // Also the target sockets that could not be made without it.
      plansHaveChanged();
    },
    onLeave: (engine, why) => {
      targetSockets.detach(engine);
      events.add({ type: 'engine gone', detail: why });
    },
    onEvent: (event) => {
      events.add(event);
    },
    onStatus: (generation, status) => {
      generations.heard(generation, status);
      usage.look();
    },
    onStaleTargetSocket: (targetSocket) => {
      reconciler.renew(targetSocket).catch((error: unknown) => {
        log.info({ targetSocket, err: asFailure(error).data }, 'the target could not be resolved anew');
      });
    },
  });
  const usage = new EngineUsage({
    generations,
    current: () => engines.generation,
    tell: (message) => {
      engines.tell(message);
    },
    log,
  });
  const max = (): number => settings()['contexts.max'];
  const contexts: Contexts = new Contexts({
    env,
    own,
    cwd,
    max,
    isPinned: (key, agrees): boolean => reconciler.serves(key, agrees),
    log,
    onChange: () => {
      plansHaveChanged();
    },
    event: (event) => {
      events.add(event);
    },
  });
  let targetSocketsAreOpen = false;
  const plansHaveChanged = (): void => {
    if (!targetSocketsAreOpen) return;
    void reconciler.refresh();
    keepWarm.refresh();
  };
  /** Engines of an earlier control go on accepting until the paths lead to the target sockets of this one, and somebody accepts there. */
  const takeOver = (): void => {
    const { generation } = engines;
    if (!targetSocketsAreOpen || generation === undefined) return;
    generations.drainOthers(generation).catch((error: unknown) => {
      log.warn({ err: asFailure(error).data }, 'telling older engines to drain');
    });
  };
  const files = new CallerFiles();
  const fetch = proxyFetch(env);
  const reconciler: TargetSocketReconciler = new TargetSocketReconciler({
    dir: paths.dir,
    targetSockets,
    contexts,
    files,
    settings,
    fetch,
    log,
    own: { env: own, cwd },
    known: new KnownContexts({
      path: join(paths.stateDir, 'contexts.json'),
      warn: (message) => {
        log.warn(message);
      },
    }),
  });
  const keepWarm = new KeepWarm({
    settings,
    plan: (target) => reconciler.planFor({ target }),
    tell: (message) => {
      engines.tell(message);
    },
    log,
  });
  const report = new StatusReport({
    engines,
    generations,
    contexts,
    settingsProblem: () => inForce.problem,
    settingsPath: paths.settings,
    socketPath: paths.controlSocket,
    version,
    sinceMs,
  });
  let requests = 0;
  const upgrade = upgradeHandler({
    sender,
    log,
    contexts,
    files,
    settings,
    fetch,
    nextRequestId: () => `${process.pid.toString(36)}-${(requests += 1).toString(36)}`,
  });

  const reloadSettings = async (): Promise<void> => {
    await inForce.reload();
    sayBrokenSettings();
    log.level = inForce.level;
    engines.tell({ type: 'settings', settings: settings() });
    // What it says of a target is part of the target's plan.
    plansHaveChanged();
  };
  const sayBrokenSettings = (): void => {
    const mistake = inForce.untold();
    if (mistake === undefined) return;
    const { code, detail } = mistake.data;
    log.warn({ code, detail }, 'settings are broken; the last good ones stay in force');
    events.add({ type: 'config broken', code, detail });
  };
  const reload = async (): Promise<void> => {
    await reloadSettings();
    await contexts.reload();
    // Those that cannot be made just now, for want of an engine, follow.
    await inTime(reconciler.refresh(), LIMITS.targetSocketMs, () => new Error('late')).catch(() => undefined);
    log.info('reloaded');
  };
  const app = await makeServer({
    health: () => report.health(),
    status: () => report.status(),
    targets: async (request) => listTargets(await contexts.view(request)),
    streams: async () => {
      const list = await generations.streams();
      return {
        ...list,
        streams: list.streams.map((row) => ({ ...row, target: withoutCredentials(row.target) })),
      };
    },
    endStream: (id) => generations.end(id),
    targetSocket: (request) => reconciler.ensure(request),
    follow: (response) => events.listen(response),
    drop: async (request) => {
      engines.tell({ type: 'drop', plan: await reconciler.planFor(request) });
    },
    reload: async () => {
      await reload();
      return { problems: report.problems() };
    },
    stop: () => {
      void ending.stop();
    },
  });
  app.server.on('upgrade', (message, socket, head) => {
    upgrade.handle(message, socket, head);
  });
  const watch = watchFiles({
    files: () => [paths.settings],
    onChange: () => {
      reloadSettings().catch((error: unknown) => {
        log.error({ err: asFailure(error).data }, 'reload failed');
      });
    },
  });
  let leaveLost = (): void => {};
  const lost = new Promise<void>((resolve) => {
    leaveLost = resolve;
  });
  // Before anybody can ask for it.
  const ending = new Shutdown({
    log,
    server: app.server,
    refuse: [upgrade, reconciler, keepWarm, events, sender],
    unbind: async () => {
      await instanceLock?.release();
    },
    targetSockets: {
      leave: () => {
        targetSockets.leave();
      },
      close: () => targetSockets.close(),
      clear: () => reconciler.clear(),
    },
    engines,
    generations,
    watchers: [watch, contexts],
  });
  try {
    const activated = isActivated(env, process.pid);
    instanceLock = await InstanceLock.claim({
      paths,
      server: app.server,
      activated,
      log,
      onLost: ({ data: { code, detail } }) => {
        log.error({ code, detail }, 'another bmuxd has this folder now; leaving it to that one');
        leaveLost();
      },
    });
    if (activated) await listenActivated(app.server);
  } catch (error) {
    await Promise.all([app.close(), watch.close(), instanceLock?.release()]);
    throw error;
  }
  await generations.sweep();
  engines.start();
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  sayBrokenSettings();
  void contexts
    .openOwn()
    .then(() => reconciler.open())
    .then(() => {
      targetSocketsAreOpen = true;
      // What has changed meanwhile was told to nobody.
      void reconciler.refresh();
      takeOver();
      keepWarm.open();
    })
    .catch((error: unknown) => {
      log.error({ err: asFailure(error).data }, 'target sockets');
    });
  return {
    socketPath: paths.controlSocket,
    close: () => ending.close(),
    reload,
    stopped: Promise.race([ending.stopped, lost]),
  };
}
