// Makes the other engines drain: says how long their streams may go on, and ends those of the oldest when too many have streams.
import { asFailure } from '../../../errors/fail.ts';
import type { Logger } from '../../../base/log.ts';
import type { Settings } from '../../../config/settings/table.ts';
import type { EngineDirectory } from '../engine-directory.ts';

/** Draining engines with live streams. Each is a process of about 50 MB. */
export const MAX_DRAINING = 16;

export interface DrainingOptions {
  readonly directory: Pick<EngineDirectory, 'beside' | 'post'>;
  /** False when another daemon has taken over: its engine would drain, too. */
  readonly isOurs: () => Promise<boolean>;
  readonly settings: () => Pick<Settings, 'engine.drain_max'>;
  readonly log: Logger;
}

export class Draining {
  readonly #options: DrainingOptions;

  constructor(options: DrainingOptions) {
    this.#options = options;
  }

  /** Called when the paths of all sockets lead to `current`, and when the settings have changed. Never rejects. */
  async drainOthers(current: string): Promise<void> {
    const { directory, isOurs, settings, log } = this.#options;
    try {
      const others = await directory.beside(current);
      // The survey takes some time.
      if (!(await isOurs())) return;
      const max = String(settings()['engine.drain_max']);
      await Promise.allSettled(
        others.map(({ generation }) => directory.post(generation, `/v1/drain?max=${max}`)),
      );
      const busy = others.filter(({ streams }) => streams > 0);
      const tooMany = busy.slice(0, Math.max(0, busy.length - MAX_DRAINING));
      for (const { generation, streams } of tooMany)
        log.warn({ generation, streams, limit: MAX_DRAINING }, 'too many engines drain: the oldest ends');
      const query = `max=${max}&newer=${String(MAX_DRAINING)}`;
      await Promise.allSettled(
        tooMany.map(({ generation }) => directory.post(generation, `/v1/drain?${query}`)),
      );
    } catch (error) {
      log.warn({ err: asFailure(error).data }, 'telling older engines to drain');
    }
  }
}
