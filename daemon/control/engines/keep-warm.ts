// Targets with `warm = true` in bmuxd.toml: the engine is told of them again and again, so that one that was away is warm once it is back, and a share
// link is followed to where it leads now.
import type { Logger } from '../../base/log.ts';
import type { OneToEngine } from '../../engine-protocol/messages.ts';
import { asFailure } from '../../errors/fail.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import type { Settings } from '../../config/settings/table.ts';

/** ms between two times; an engine to which a target is warm already does nothing. */
const AGAIN_MS = 15_000;

export interface KeepWarmOptions {
  readonly settings: () => Settings;
  readonly plan: (target: string) => Promise<Plan>;
  readonly tell: (message: OneToEngine) => void;
  readonly log: Logger;
}

export class KeepWarm {
  readonly #options: KeepWarmOptions;
  readonly #timer: NodeJS.Timeout;
  #open = false;
  /** What was told of a target last: once, until it is something else. */
  readonly #told = new Map<string, string>();

  constructor(options: KeepWarmOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#tellAll(isSilent), AGAIN_MS);
    this.#timer.unref();
  }

  /** From now on there are plans to be had. */
  open(): void {
    this.#open = true;
    this.refresh();
  }

  /** Settings, config or engine have changed. */
  refresh(): void {
    void this.#tellAll(() => true);
  }

  close(): void {
    this.#open = false;
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async #tellAll(which: (plan: Plan) => boolean): Promise<void> {
    const { settings, plan, tell } = this.#options;
    const { targets } = settings();
    for (const target of this.#told.keys()) if (targets[target]?.warm !== true) this.#told.delete(target);
    for (const [target, { warm }] of Object.entries(targets)) {
      if (warm !== true || !this.#open) continue;
      try {
        const made = await plan(target);
        // As a name that nobody knows leads to the local server: it needs no warmth, and the name is a mistake to be told.
        const { route, warnings } = made.destination;
        this.#complain(target, warnings);
        if (route.transport === 'local') continue;
        if (which(made)) tell({ type: 'warm', plan: made });
      } catch (error) {
        this.#complain(target, [asFailure(error).message]);
      }
    }
  }

  #complain(target: string, why: readonly string[]): void {
    const text = why.join('; ');
    if (this.#told.get(target) === text) return;
    if (text === '') this.#told.delete(target);
    else {
      this.#told.set(target, text);
      this.#options.log.warn({ target, why: text }, 'cannot be kept warm');
    }
  }
}

/** An agent may ask a person to confirm the use of a key: not every 15 s. */
function isSilent({ destination: { route } }: Plan): boolean {
  return route.transport !== 'iroh' || !route.sshAuth;
}
