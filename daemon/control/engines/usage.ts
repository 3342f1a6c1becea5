// Connections that engines hold which only finish their streams: the current one counts them, since a server's limit is for all of them.
import { Refresh } from '../../base/async/single-flight.ts';
import { textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { EngineDirectory } from './engine-directory.ts';
import type { EngineLink } from './engine-link.ts';

export interface EngineUsageOptions {
  readonly directory: EngineDirectory;
  /** The engine that takes streams. */
  readonly current: () => EngineLink | undefined;
  readonly log: Logger;
}

export class EngineUsage {
  readonly #options: EngineUsageOptions;
  /** What was told last, and to which engine; one that was told nothing counts none. */
  #told: { readonly engine: EngineLink | undefined; readonly connections: string } = {
    engine: undefined,
    connections: '{}',
  };
  readonly #refresh: Refresh;

  constructor(options: EngineUsageOptions) {
    this.#options = options;
    this.#refresh = new Refresh(() => this.#look());
  }

  /** Asks the other engines and tells the current one, when that is news to it. Never rejects. */
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
    // Another engine may serve by now: for that one it is not the answer.
    if (current() !== engine) return;
    const text = JSON.stringify(connections);
    if (text === (this.#told.engine === engine ? this.#told.connections : '{}')) return;
    this.#told = { engine, connections: text };
    engine.tell({ type: 'other engines', connections });
  }
}
