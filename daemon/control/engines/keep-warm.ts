// Targets with `warm = true` in bmuxd.toml. The engine is told of them again and again: one that was out of reach becomes warm when it is back, and a
// share link is followed to where it leads now.
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import type { Logger } from '../../base/log.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { OneToEngine } from '../../engine-protocol/messages.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import { asFailure } from '../../errors/fail.ts';

/** ms between two times. An engine does nothing for a target that is warm already. */
const AGAIN_MS = 15_000;

export interface KeepWarmOptions {
  readonly settings: () => Settings;
  readonly plan: (target: string) => Promise<Plan>;
  readonly tell: (message: OneToEngine) => void;
  readonly log: Logger;
  readonly clock?: Clock;
}

export class KeepWarm {
  readonly #options: KeepWarmOptions;
  readonly #stopTimer: () => void;
  /** One run at a time: a plan that was made earlier is never told later. */
  readonly #run = new Refresh(() => this.#tellAll());
  #isOpen = false;
  /** The next run also tells of targets that may make an SSH agent ask a person. */
  #mayAsk = false;
  /** What was logged last of a target: it is logged again when it is something else. */
  readonly #complaints = new Map<string, string>();

  constructor(options: KeepWarmOptions) {
    this.#options = options;
    const { clock = SYSTEM_CLOCK } = options;
    this.#stopTimer = clock.every(AGAIN_MS, () => void this.#run.request());
  }

  /** From now on plans can be made. */
  open(): void {
    this.#isOpen = true;
    this.refresh();
  }

  /** Settings, config or engine have changed. */
  refresh(): void {
    this.#mayAsk = true;
    void this.#run.request();
  }

  close(): void {
    this.#isOpen = false;
    this.#stopTimer();
  }

  /** Never rejects. */
  async #tellAll(): Promise<void> {
    if (!this.#isOpen) return;
    const mayAsk = this.#mayAsk;
    this.#mayAsk = false;
    const { targets } = this.#options.settings();
    for (const target of this.#complaints.keys())
      if (targets[target]?.warm !== true) this.#complaints.delete(target);
    const warm = Object.entries(targets).filter(([, settings]) => settings.warm === true);
    // Side by side: one target whose control plane does not answer delays no other.
    await Promise.all(warm.map(([target]) => this.#tell(target, mayAsk)));
  }

  async #tell(target: string, mayAsk: boolean): Promise<void> {
    try {
      const plan = await this.#options.plan(target);
      const { route, warnings } = plan.destination;
      this.#complain(target, warnings);
      // A name that is not configured leads to the local server, which needs no warmth. The warning says so.
      if (route.transport === 'local' || !this.#isOpen) return;
      if (mayAsk || !asksAgent(plan)) this.#options.tell({ type: 'warm', plan });
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

/** An SSH agent may ask a person to confirm the use of a key: that must not happen every 15 s. */
function asksAgent({ destination: { route } }: Plan): boolean {
  return route.transport === 'iroh' && route.sshAuth;
}
