// What the routes of the control socket do: each is a few words to the object that owns the thing.
import { inTime } from '../../base/async/deadline.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { fail } from '../../errors/fail.ts';
import type { Contexts } from '../contexts/contexts.ts';
import type { Engines } from '../engines/engines.ts';
import type { ClientPlans } from '../planning/client-plans.ts';
import { listTargets } from '../planning/list-targets.ts';
import type { RequestPlanner } from '../planning/request-planner.ts';
import type { TargetSocketReconciler } from '../target-sockets/reconciler.ts';
import type { Events } from './events.ts';
import type { Resources } from './server.ts';
import type { StatusReport } from './status.ts';

export interface ResourceOwners {
  readonly status: StatusReport;
  readonly contexts: Contexts;
  readonly planner: RequestPlanner;
  readonly plans: ClientPlans;
  readonly reconciler: TargetSocketReconciler;
  readonly events: Events;
  readonly engines: Engines;
  /** Path of the socket for stream requests. */
  readonly streamsSocket: string;
  /** ms that the plan of one request may take. */
  readonly planBudgetMs: () => number;
  readonly reload: () => Promise<void>;
  readonly stop: () => void;
}

export function resources(owners: ResourceOwners): Resources {
  const { status, contexts, planner, plans, reconciler, events, engines } = owners;
  return {
    health: () => status.health(),
    status: () => status.status(),
    targets: async (request) => listTargets(await contexts.view(request)),
    streams: async () => {
      const list = await engines.directory.streams();
      const streams = list.streams.map((row) => ({ ...row, target: withoutCredentials(row.target) }));
      return { ...list, streams };
    },
    endStream: (id) => engines.directory.end(id),
    targetSocket: (request, signal) => reconciler.ensure(request, signal),
    follow: (response) => events.listen(response),
    drop: async (request) => {
      const plan = await plans.planFor(request);
      engines.supervisor.current?.tell({ type: 'drop', plan });
    },
    parse: (header) => planner.request(header),
    plan: (requestId, header) => {
      const ms = owners.planBudgetMs();
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
    streamsSocket: owners.streamsSocket,
    reload: async () => {
      await owners.reload();
      return { problems: status.problems() };
    },
    stop: owners.stop,
  };
}
