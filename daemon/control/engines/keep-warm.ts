// Keeps targets with `warm = true` in bmuxd.toml warm, by sending their plans to the engine every 15 s. So a target that was unreachable
// becomes warm when it is back, and a share link is resolved again.
import type { StreamRequest } from '../../api/request.ts';
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import type { Logger } from '../../base/log.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { OneToEngine } from '../../engine-protocol/messages.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { asFailure } from '../../errors/fail.ts';

/** ms between two runs. An engine does nothing for a target that is warm already. */
const AGAIN_MS = 15_000;

export interface KeepWarmOptions {
  readonly settings: () => Settings;
  readonly plans: { planFor(request: StreamRequest): Promise<Plan> };
  readonly engines: { tell(message: OneToEngine): void };
  readonly log: Logger;
  readonly clock?: Clock;
}

export class KeepWarm {
  readonly #options: KeepWarmOptions;
  readonly #stopTimer: () => void;
  /** Only one run at a time, so that an older plan is never sent after a newer one. */
  readonly #run = new Refresh(() => this.#tellAll());
  #isOpen = false;
  /** True when the next run includes targets whose SSH agent may ask the user for a confirmation. */
  #mayAsk = false;
  /** The last logged problem of each target. The same problem is not logged again. */
  readonly #complaints = new Map<string, string>();

  constructor(options: KeepWarmOptions) {
    this.#options = options;
    const { clock = SYSTEM_CLOCK } = options;
    this.#stopTimer = clock.every(AGAIN_MS, () => void this.#run.request());
  }

  /** Called when plans can be made. Starts the first run. */
  open(): void {
    this.#isOpen = true;
    this.refresh();
  }

  /** Called when settings, config or engine have changed. Starts a run. */
  refresh(): void {
    this.#mayAsk = true;
    void this.#run.request();
  }

  close(): void {
    this.#isOpen = false;
    this.#stopTimer();
  }

  /** Makes and sends the plans of all targets that are to be kept warm. Never rejects. */
  async #tellAll(): Promise<void> {
    if (!this.#isOpen) return;
    const mayAsk = this.#mayAsk;
    this.#mayAsk = false;
    const { targets } = this.#options.settings();
    for (const target of this.#complaints.keys())
      if (targets[target]?.warm !== true) this.#complaints.delete(target);
    const warm = Object.entries(targets).filter(([, settings]) => settings.warm === true);
    // In parallel: a control plane that does not answer for one target must not delay the others.
    await Promise.all(warm.map(([target]) => this.#tell(target, mayAsk)));
  }

  async #tell(target: string, mayAsk: boolean): Promise<void> {
    try {
      const plan = await this.#options.plans.planFor({ target });
      const { route, warnings } = plan.destination;
      this.#complain(target, warnings);
      // A local server needs no warm connection.
      if (route.transport === 'local' || !this.#isOpen) return;
      if (mayAsk || !asksAgent(plan)) this.#options.engines.tell({ type: 'warm', plan });
    } catch (error) {
      this.#complain(target, [asFailure(error).message]);
    }
  }

  #complain(target: string, why: readonly string[]): void {
    const text = why.join('; ');
    if (this.#complaints.get(target) === text) return;
    if (text === '') this.#complaints.delete(target);
    else {
      this.#complaints.set(target, text);
      this.#options.log.warn({ target, why: text }, 'cannot be kept warm');
    }
  }
}

/** True when the dial uses an SSH agent. The agent may ask the user to confirm the use of a key, which must not happen every 15 s. */
function asksAgent({ destination: { route } }: Plan): boolean {
  return route.transport === 'iroh' && route.sshAuth;
}
