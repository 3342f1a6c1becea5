// What plans streams: the contexts with their configs, and the plans for requests and for target sockets.
import type { CallerEnv } from '../../api/request.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import type { Env } from '../../base/paths.ts';
import { SystemRoots } from '../../transport/tls/certificates/roots.ts';
import { SystemTrust } from '../../transport/tls/system-trust.ts';
import { HttpClient } from '../../target/http/client.ts';
import type { Settings } from '../../config/settings/table.ts';
import { CallerFiles } from '../contexts/caller-files.ts';
import { Contexts, type ContextsOptions } from '../contexts/contexts.ts';
import { ClientPlans } from './client-plans.ts';
import type { PlanningDeps } from './plan-stream.ts';
import { RequestPlanner } from './request-planner.ts';

export interface PlanningOptions extends Pick<
  ContextsOptions,
  'isPinned' | 'onChange' | 'onTrustChange' | 'event' | 'log'
> {
  /** The daemon's own environment. */
  readonly env: Env;
  /** Environment and folder for requests that bring none. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly settings: () => Settings;
}

export interface Planning {
  readonly contexts: Contexts;
  readonly files: CallerFiles;
  readonly planner: RequestPlanner;
  readonly plans: ClientPlans;
  /** The roots by which the control plane is verified. */
  readonly trust: Pick<SystemTrust, 'renew'>;
  /** Sends lookups to the control plane. */
  readonly http: HttpClient;
}

export function makePlanning(options: PlanningOptions): Planning {
  const { env, own, settings } = options;
  // The same roots as for gateways, found in the daemon's environment.
  const trust = new SystemTrust(new SystemRoots({ env }));
  const http = new HttpClient({ env, verified: trust.verified });
  const contexts = new Contexts({ ...options, clock: SYSTEM_CLOCK, max: () => settings()['contexts.max'] });
  const files = new CallerFiles();
  const deps: PlanningDeps = { contexts, files, settings, get: http.get, own };
  return {
    contexts,
    files,
    http,
    trust,
    planner: new RequestPlanner(deps),
    plans: new ClientPlans({ ...deps, own }),
  };
}
