// Where targets lead, seen from the environment of a client.
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
} from '../target-sockets/clients.ts';

export interface ClientPlansOptions extends PlanningDeps {
  /** Environment of the daemon itself: that of a request without one. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
}

export class ClientPlans {
  readonly #options: ClientPlansOptions;
  readonly #stop = new AbortController();
  #made = 0;

  constructor(options: ClientPlansOptions) {
    this.#options = options;
    // One for each plan that is being made.
    setMaxListeners(0, this.#stop.signal);
  }

  environmentOf({ env, cwd, slot }: StreamRequest): ClientEnvironment {
    const { own } = this.#options;
    return { env: env ?? own.env, cwd: cwd ?? (env === undefined ? own.cwd : undefined), slot };
  }

  /** Rejects with the failure of the slot or the config when there is no good one to fall back to. */
  view(environment: ClientEnvironment): Promise<View> {
    return this.#options.contexts.view(requestOf(environment));
  }

  /** Where a target leads. A client of a target socket has checked slot and build itself, so no policy is applied. */
  async targetSocket(
    target: string,
    { environment, agents }: Pick<ContextClients, 'environment' | 'agents'>,
    signal: AbortSignal,
  ): Promise<TargetSocketPlan> {
    this.#made += 1;
    const request: StreamRequest = { ...requestOf(environment), target, policy: false };
    const id = `target-socket-${this.#made.toString(36)}`;
    const { destination, client } = await planStream(request, id, this.#options, () => signal);
    return { destination: withAgents(destination, agents), principal: client.principal };
  }

  /** The plan of a request, without policies: for what the daemon does by itself. */
  async planFor(request: StreamRequest): Promise<Plan> {
    const wanted: StreamRequest = {
      ...requestOf(this.environmentOf(request)),
      target: request.target ?? '',
      policy: false,
    };
    return planStream(wanted, 'bmuxd', this.#options, () => this.#stop.signal);
  }

  /** Stops what `planFor` looks up. */
  close(): void {
    this.#stop.abort(fail('stopping'));
  }
}
