// What engines hold that only finish their streams: the current one counts it as its own, since a server has its places for all of us together.
import type { Logger } from '../base/log.ts';
import { textOf } from '../base/failure.ts';
import type { ToEngine } from '../wire/engine-messages.ts';
import type { Generations } from './generations.ts';

export interface ElsewhereOptions {
  readonly generations: Generations;
  /** Tells the current engine. */
  readonly tell: (message: ToEngine) => void;
  readonly log: Logger;
}

export class Elsewhere {
  readonly #options: ElsewhereOptions;
  /** What was said last, and to which engine; one that was told nothing takes it that there is nothing. */
  #told = { current: '', places: '{}' };
  #looking = false;

  constructor(options: ElsewhereOptions) {
    this.#options = options;
  }

  /** Asks the other engines and tells `current`, when that is news to it. One look at a time. */
  look(current: string): void {
    if (this.#looking) return;
    this.#looking = true;
    this.#look(current)
      .catch((error: unknown) => {
        this.#options.log.debug({ err: textOf(error) }, 'places of other engines');
      })
      .finally(() => {
        this.#looking = false;
      });
  }

  async #look(current: string): Promise<void> {
    const places = await this.#options.generations.placesBeside(current);
    const told = this.#told.current === current ? this.#told.places : '{}';
    if (JSON.stringify(places) === told) return;
    this.#told = { current, places: JSON.stringify(places) };
    this.#options.tell({ type: 'elsewhere', places });
  }
}
