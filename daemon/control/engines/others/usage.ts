// Tells the current engine how many connections the other engines hold. It counts them, because a server's limit applies to all together.
import { Refresh } from '../../../base/async/single-flight.ts';
import { textOf } from '../../../base/failure.ts';
import type { Logger } from '../../../base/log.ts';
import type { EngineDirectory } from '../engine-directory.ts';
import type { EngineLink } from '../engine-link.ts';

export interface EngineUsageOptions {
  readonly directory: EngineDirectory;
  /** The engine that accepts streams. */
  readonly current: () => EngineLink | undefined;
  readonly log: Logger;
}

export class EngineUsage {
  readonly #options: EngineUsageOptions;
  /** The last counts sent, as JSON, and the engine that got them. An engine that has got none assumes `{}`. */
  #told: { readonly engine: EngineLink | undefined; readonly connections: string } = {
    engine: undefined,
    connections: '{}',
  };
  readonly #refresh: Refresh;

  constructor(options: EngineUsageOptions) {
    this.#options = options;
    this.#refresh = new Refresh(() => this.#look());
  }

  /** Asks the other engines, and sends their counts to the current one when they have changed. Never rejects. */
  async look(): Promise<void> {
    await this.#refresh.request().catch((error: unknown) => {
      this.#options.log.debug({ err: textOf(error) }, 'connections of other engines');
    });
  }

  async #look(): Promise<void> {
    const { current, directory } = this.#options;
    const engine = current();
    if (engine === undefined) return;
    const connections = await directory.connectionsBeside(engine.generation);
    // If another engine is current now, these counts are wrong for it: they leave out the former one.
    if (current() !== engine) return;
    const text = JSON.stringify(connections);
    if (text === (this.#told.engine === engine ? this.#told.connections : '{}')) return;
    this.#told = { engine, connections: text };
    engine.tell({ type: 'other engines', connections });
  }
}
