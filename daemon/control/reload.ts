// Follows bmuxd.toml: reads it again when it changes or when a person asks, and tells those whose work depends on it.
import { classOf } from '../errors/error-class.ts';
import type { BrokerEvent } from '../api/answers.ts';
import { settledWithin } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { watchFiles } from '../config/files/watch.ts';
import type { Settings } from '../config/settings/table.ts';
import { asFailure } from '../errors/fail.ts';
import type { SettingsInForce } from './instance/settings-in-force.ts';

export interface ReloadOptions {
  readonly settings: SettingsInForce;
  readonly contexts: { reload(): Promise<void> };
  /** Cached files of callers, and the roots of the control plane. */
  readonly planning: { readonly files: { forget(): void }; readonly trust: { renew(): void } };
  /** The `compression` of a target is part of its destination, so destinations are made again. */
  readonly targetSockets: { refresh(): Promise<void> };
  readonly keepWarm: { refresh(): void };
  readonly manager: { reloading(work: () => Promise<void>): Promise<void> };
  readonly engines: { configure(settings: Settings): void; readAgain(): void };
  /** Its port is a setting. */
  readonly metrics: { refresh(): void };
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly log: Logger;
}

/** Watches the file from the start until `close`. */
export class Reload {
  readonly #options: ReloadOptions;
  readonly #watch: { close(): Promise<void> };

  constructor(options: ReloadOptions) {
    this.#options = options;
    this.#watch = watchFiles({
      files: () => [options.settings.path],
      through: options.settings.files,
      onChange: () => {
        this.#settings().catch((error: unknown) => {
          options.log.error({ err: asFailure(error).data }, 'reload failed');
        });
      },
    });
  }

  /** Reads bmuxd.toml, the files of all contexts and the trusted certificates again, whether they look changed or not. Target sockets that cannot be made now are made later. */
  all(): Promise<void> {
    return this.#options.manager.reloading(() => this.#all());
  }

  async #all(): Promise<void> {
    const { contexts, planning, engines, targetSockets, log } = this.#options;
    planning.files.forget();
    planning.trust.renew();
    engines.readAgain();
    await this.#settings();
    await contexts.reload();
    await settledWithin(targetSockets.refresh(), LIMITS.targetSocketMs);
    log.info('reloaded');
  }

  /** Logs a mistake in bmuxd.toml and adds an event, once for each mistake. */
  reportMistake(): void {
    const { settings, log, event } = this.#options;
    const mistake = settings.untold();
    if (mistake === undefined) return;
    const { code, detail } = mistake.data;
    log.warn({ code, detail }, 'settings are broken; the last good ones stay in force');
    event({ type: 'config broken', code, class: classOf(mistake.data), detail });
  }

  close(): Promise<void> {
    return this.#watch.close();
  }

  async #settings(): Promise<void> {
    const { settings, log, targetSockets, keepWarm, engines, metrics } = this.#options;
    await settings.reload();
    this.reportMistake();
    log.level = settings.level;
    engines.configure(settings.current());
    metrics.refresh();
    void targetSockets.refresh();
    keepWarm.refresh();
  }
}
