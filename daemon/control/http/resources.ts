// What the routes of the control socket do: each calls the object that owns the thing.
import { inTime } from '../../base/async/deadline.ts';
import { LIMITS } from '../../base/limits.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { SCHEMA } from '../../api/answers.ts';
import type { SettingsInForce } from '../instance/settings-in-force.ts';
import { configReport } from './config-report.ts';
import { controlArgs, loginArgs } from '../../transport/ssh/arguments.ts';
import { pathsForLogin } from '../../transport/ssh/folder.ts';
import { isLive } from '../../transport/ssh/login.ts';
import { fail } from '../../errors/fail.ts';
import type { Engines } from '../engines/engines.ts';
import { listTargets, oneTarget } from '../planning/list-targets.ts';
import type { Planning } from '../planning/planning.ts';
import type { Reload } from '../reload.ts';
import type { Shutdown } from '../shutdown.ts';
import type { TargetSocketReconciler } from '../target-sockets/reconciler.ts';
import { metricsText } from '../metrics/metrics.ts';
import type { Events } from './events.ts';
import type { Resources } from './routes.ts';
import { StatusReport, type StatusReportOptions } from './status.ts';

export interface ResourceOwners {
  readonly paths: BmuxdPaths;
  readonly version: string;
  /** Date.now() of the start. */
  readonly sinceMs: number;
  /** Where the log is. */
  readonly log: string;
  readonly settings: SettingsInForce;
  readonly planning: Planning;
  readonly reconciler: TargetSocketReconciler;
  readonly events: Events;
  readonly engines: Engines;
  readonly parts: StatusReportOptions['parts'];
  readonly reload: Reload;
  readonly shutdown: () => Pick<Shutdown, 'stop' | 'drain' | 'problem'>;
}

export function resources(owners: ResourceOwners): Resources {
  const { paths, version, sinceMs, settings, reconciler, events, engines } = owners;
  const { contexts, planner, plans } = owners.planning;
  const status = new StatusReport({
    engines,
    contexts,
    settingsProblem: () => settings.problem,
    settingsPath: paths.settings,
    parts: {
      ...owners.parts,
      stop: {
        get problem() {
          return owners.shutdown().problem;
        },
      },
    },
    socketPath: paths.controlSocket,
    version,
    sinceMs,
    log: owners.log,
  });
  return {
    health: () => status.health(),
    notLive: () => owners.parts['control']?.problem,
    notReady: () => status.notReady(),
    version: () => ({
      schema: SCHEMA,
      version,
      node: process.version,
      platform: process.platform,
      arch: process.arch,
    }),
    config: async (request) => configReport(settings, await contexts.view(request)),
    problems: () => status.problems(),
    status: () => status.status(),
    metrics: () =>
      metricsText({
        tallies: engines.tallies,
        status: () => status.status(),
        supervisor: engines.supervisor,
        events,
      }),
    targets: async (request) => {
      const view = await contexts.view(request);
      return request.target === undefined
        ? listTargets(view)
        : oneTarget(view, request, await plans.planFor(request));
    },
    streams: async () => {
      const list = await engines.directory.streams();
      const streams = list.streams.map((row) => ({ ...row, target: withoutCredentials(row.target) }));
      return { ...list, streams };
    },
    streamEnd: (id) => engines.directory.endOf(id),
    endStream: (id) => engines.directory.end(id),
    targetSocket: (request, signal) => reconciler.ensure(request, signal),
    follow: (response) => events.listen(response),
    warm: async (request) => {
      const plan = await plans.planFor(request);
      if (plan.destination.route.transport !== 'local') engines.tell({ type: 'warm', plan });
    },
    drop: async (request) => {
      const plan = await plans.planFor(request);
      engines.lost.forget(plan.destination.address);
      engines.tell({ type: 'drop', plan });
    },
    login: async (request) => {
      const { route, label } = (await plans.planFor(request)).destination;
      if (route.transport !== 'ssh') throw fail('login_needless', { label, transport: route.transport });
      const { path, present } = await pathsForLogin(paths.dir, route);
      const live = await Promise.all(present.map((one) => isLive(one)));
      const there = present.find((_, at) => live[at]) ?? present[0] ?? path;
      const check = controlArgs(route, { path: there }, 'check');
      return { schema: SCHEMA, target: label, path: there, login: loginArgs(route, path), check };
    },
    parse: (header) => planner.request(header),
    plan: (requestId, header) => {
      const ms = settings.current()['control_plane.timeout'] + LIMITS.prepareMs;
      const abort = new AbortController();
      const late = fail('out_of_time', { ms, step: 'bmuxd made the plan' });
      return inTime(
        planner.plan(requestId, header, () => abort.signal),
        ms,
        () => {
          abort.abort(late);
          return late;
        },
      );
    },
    streamsSocket: paths.streamsSocket,
    reload: async () => {
      await owners.reload.all();
      return { problems: status.problems() };
    },
    stop: (drainMs) => {
      const shutdown = owners.shutdown();
      void (drainMs === undefined ? shutdown.stop() : shutdown.drain(drainMs));
    },
  };
}
