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
import { withoutDoor } from '../api/target-socket-env.ts';
import { Doors } from './target-sockets/target-sockets.ts';
import { Ending } from './shutdown.ts';
import { Events } from './http/events.ts';
import { KeptWarm } from './engines/keep-warm.ts';
import { KnownContexts } from './target-sockets/client-file.ts';
import { TargetDoors } from './target-sockets/reconciler.ts';
import { CallerFiles } from './contexts/caller-files.ts';
import { Contexts } from './contexts/contexts.ts';
import { Elsewhere } from './engines/usage.ts';
import { Engines } from './engines/supervisor.ts';
import { Generations } from './engines/engine-directory.ts';
import { makeHome } from './instance/runtime-dir.ts';
import { Ownership } from './instance/instance-lock.ts';
import { proxyFetch } from './planning/proxy-fetch.ts';
import { Report } from './http/status.ts';
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
  const own = whitelisted(withoutDoor(env));
  await makeHome(paths);
  const inForce = await SettingsInForce.load({ path: paths.settings, logLevel: options.logLevel });
  const settings = (): Settings => inForce.now;
  const log = makeLogger({ level: inForce.level, sink, process: 'control' });
  const sender = new HandoffSender({ maxWaiting: () => settings()['streams.max_waiting'] });
  const writeLine = (line: string): void => {
    sink.write(line);
  };
  const events = new Events();
  let ownership: Ownership | undefined;
  const doors = new Doors({
    log,
    mayTakeBack: async () => (await ownership?.isOurs()) ?? false,
    event: (event) => {
      events.add(event);
    },
  });
  const generations = new Generations({ dir: paths.enginesDir });
  const engines = new Engines({
    paths,
    version,
    env,
    settings,
    sender,
    log,
    writeLine,
    onReady: (engine) => {
      doors.attach(engine);
      events.add({ type: 'engine ready' });
      elsewhere.look();
      takeOver();
      // Also the doors that could not be made without it.
      plansHaveChanged();
    },
    onLeave: (engine, why) => {
      doors.detach(engine);
      events.add({ type: 'engine gone', detail: why });
    },
    onEvent: (event) => {
      events.add(event);
    },
    onStatus: (generation, status) => {
      generations.heard(generation, status);
      elsewhere.look();
    },
    onStaleDoor: (door) => {
      targetDoors.renew(door).catch((error: unknown) => {
        log.info({ door, err: asFailure(error).data }, 'the target could not be resolved anew');
      });
    },
  });
  const elsewhere = new Elsewhere({
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
    isPinned: (key, agrees): boolean => targetDoors.serves(key, agrees),
    log,
    onChange: () => {
      plansHaveChanged();
    },
    event: (event) => {
      events.add(event);
    },
  });
  let doorsAreOpen = false;
  const plansHaveChanged = (): void => {
    if (!doorsAreOpen) return;
    void targetDoors.refresh();
    keptWarm.refresh();
  };
  /** Engines of an earlier control go on accepting until the paths lead to the doors of this one, and somebody accepts there. */
  const takeOver = (): void => {
    const { generation } = engines;
    if (!doorsAreOpen || generation === undefined) return;
    generations.drainOthers(generation).catch((error: unknown) => {
      log.warn({ err: asFailure(error).data }, 'telling older engines to drain');
    });
  };
  const files = new CallerFiles();
  const fetch = proxyFetch(env);
  const targetDoors: TargetDoors = new TargetDoors({
    dir: paths.dir,
    doors,
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
  const keptWarm = new KeptWarm({
    settings,
    plan: (target) => targetDoors.planFor({ target }),
    tell: (message) => {
      engines.tell(message);
    },
    log,
  });
  const report = new Report({
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
    await inTime(targetDoors.refresh(), LIMITS.doorMs, () => new Error('late')).catch(() => undefined);
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
    door: (request) => targetDoors.ensure(request),
    follow: (response) => events.listen(response),
    drop: async (request) => {
      engines.tell({ type: 'drop', plan: await targetDoors.planFor(request) });
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
  const ending = new Ending({
    log,
    server: app.server,
    refuse: [upgrade, targetDoors, keptWarm, events, sender],
    unbind: async () => {
      await ownership?.release();
    },
    doors: {
      leave: () => {
        doors.leave();
      },
      close: () => doors.close(),
      clear: () => targetDoors.clear(),
    },
    engines,
    generations,
    watchers: [watch, contexts],
  });
  try {
    const activated = isActivated(env, process.pid);
    ownership = await Ownership.claim({
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
    await Promise.all([app.close(), watch.close(), ownership?.release()]);
    throw error;
  }
  await generations.sweep();
  engines.start();
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  sayBrokenSettings();
  void contexts
    .openOwn()
    .then(() => targetDoors.open())
    .then(() => {
      doorsAreOpen = true;
      // What has changed meanwhile was told to nobody.
      void targetDoors.refresh();
      takeOver();
      keptWarm.open();
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
