// What engines hold that only finish their streams: the current one counts it as its own, since a server has its places for all of us together.
import type { Logger } from '../../base/log.ts';
import { textOf } from '../../base/failure.ts';
import type { ToEngine } from '../../engine-protocol/messages.ts';
import type { EngineDirectory } from './engine-directory.ts';

export interface EngineUsageOptions {
  readonly generations: EngineDirectory;
  /** Generation of the engine that serves. */
  readonly current: () => string | undefined;
  /** Tells that engine. */
  readonly tell: (message: ToEngine) => void;
  readonly log: Logger;
}

export class EngineUsage {
  readonly #options: EngineUsageOptions;
  /** What was said last, and to which engine; one that was told nothing takes it that there is nothing. */
  #told = { current: '', places: '{}' };
  #looking = false;
  /** Somebody wanted a look meanwhile. */
  #again = false;

  constructor(options: EngineUsageOptions) {
    this.#options = options;
  }

  /** Asks the other engines and tells the current one, when that is news to it. One look at a time, and one after it. */
  look(): void {
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    this.#look()
      .catch((error: unknown) => {
        this.#options.log.debug({ err: textOf(error) }, 'places of other engines');
      })
      .finally(() => {
        this.#looking = false;
        const again = this.#again;
        this.#again = false;
        if (again) this.look();
      });
  }

  async #look(): Promise<void> {
    const { current: now, generations } = this.#options;
    const current = now();
    if (current === undefined) return;
    const places = await generations.connectionsBeside(current);
    // Another engine may serve by now: for that one it is not the answer.
    if (now() !== current) return;
    const told = this.#told.current === current ? this.#told.places : '{}';
    if (JSON.stringify(places) === told) return;
    this.#told = { current, places: JSON.stringify(places) };
    this.#options.tell({ type: 'other engines', connections: places });
  }
}
