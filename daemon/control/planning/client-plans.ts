// Plans that are made for target sockets and for the daemon itself, from the environment of a client.
import { setMaxListeners } from 'node:events';
import type { CallerEnv, StreamRequest } from '../../api/request.ts';
import type { TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { fail } from '../../errors/fail.ts';
import type { View } from '../contexts/contexts.ts';
import { planStream, type PlanningDeps } from './plan-stream.ts';
import {
  requestOf,
  withAgents,
  type ClientEnvironment,
  type ContextClients,
} from '../target-sockets/clients/clients.ts';

export interface ClientPlansOptions extends PlanningDeps {
  /** Environment and folder of the daemon itself, for requests without their own. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
}

export class ClientPlans {
  readonly #options: ClientPlansOptions;
  readonly #stop = new AbortController();
  #made = 0;

  constructor(options: ClientPlansOptions) {
    this.#options = options;
    // Each plan in the making adds a listener, and there may be more than the 10 after which Node warns.
    setMaxListeners(0, this.#stop.signal);
  }

  /** The environment of a request; the daemon's own where the request names none. */
  environmentOf({ env, cwd, slot }: StreamRequest): ClientEnvironment {
    const { own } = this.#options;
    return { env: env ?? own.env, cwd: cwd ?? (env === undefined ? own.cwd : undefined), slot };
  }

  /** The view for an environment. Rejects with the failure of its slot or config when there is no last good config to use instead. */
  view(environment: ClientEnvironment): Promise<View> {
    return this.#options.contexts.view(requestOf(environment));
  }

  /**
   * Where a target leads, for its target socket. No policy is applied, since a client of a target socket checks slot and build itself.
   * Rejects with the failure of the target, also of one that is not configured, or when `signal` aborts.
   */
  async targetSocket(
    target: string,
    { environment, agents }: Pick<ContextClients, 'environment' | 'agents'>,
    signal: AbortSignal,
  ): Promise<TargetSocketPlan> {
    this.#made += 1;
    const request: StreamRequest = {
      ...requestOf(environment),
      target,
      policy: false,
      unknownTarget: 'refuse',
    };
    const id = `target-socket-${this.#made.toString(36)}`;
    const { destination, client } = await planStream(request, id, this.#options, () => signal);
    return { destination: withAgents(destination, agents), principal: client.principal };
  }

  /** The plan of a request, without policies, for what is not a stream: keep warm, drop. A target that is not configured is refused. */
  async planFor(request: StreamRequest): Promise<Plan> {
    const wanted: StreamRequest = {
      ...requestOf(this.environmentOf(request)),
      target: request.target ?? '',
      policy: false,
      unknownTarget: 'refuse',
    };
    return planStream(wanted, 'bmuxd', this.#options, () => this.#stop.signal);
  }

  /** Aborts the lookups of `planFor` with `stopping`. */
  close(): void {
    this.#stop.abort(fail('stopping'));
  }
}
