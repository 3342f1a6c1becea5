// The files of all contexts with one key. They are read and watched once, however many contexts their variables make.
import type { BrokerEvent } from '../../api/answers.ts';
import type { Clock } from '../../base/async/clock.ts';
import { textOf } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxPaths } from '../../base/paths.ts';
import { ConfigFiles } from '../../config/bmux/config-files.ts';
import { SteadyFiles } from '../../config/files/steady-files.ts';
import { watchFiles, type FileWatch } from '../../config/files/watch.ts';

export interface ContextFilesOptions {
  readonly paths: BmuxPaths;
  /** All files that the contexts with this key depend on. */
  readonly files: () => readonly string[];
  /** Called when one of the files has changed. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

export class ContextFiles {
  readonly config: ConfigFiles;
  readonly #watch: FileWatch;
  readonly #options: ContextFilesOptions;

  constructor(options: ContextFilesOptions) {
    const { paths, clock, event, log } = options;
    this.#options = options;
    const through = new SteadyFiles(clock);
    this.config = new ConfigFiles(through);
    this.#watch = watchFiles({
      files: () => [...options.files(), paths.serverMeta, paths.authState],
      through,
      onChange: () => {
        event({ type: 'config changed', detail: paths.runtimeDir });
        options.onChange();
      },
      log: (message) => {
        log.warn({ runtimeDir: paths.runtimeDir }, message);
      },
    });
  }

  /** Watches what the contexts depend on now. */
  refresh(): void {
    this.#watch.refresh();
  }

  /** Closes the watchers. Never rejects. */
  async close(): Promise<void> {
    await this.#watch.close().catch((error: unknown) => {
      this.#options.log.warn({ err: textOf(error) }, 'closing a watcher');
    });
  }
}
