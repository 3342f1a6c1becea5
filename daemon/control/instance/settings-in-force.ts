// The settings that are in force: those of the last good bmuxd.toml, and what is wrong with the one of now.
import type { Failure } from '../../base/failure.ts';
import type { LogLevel } from '../../base/log.ts';
import { loadSettings, type LoadedSettings } from '../../config/settings/load.ts';
import type { Settings } from '../../config/settings/table.ts';

export interface SettingsInForceOptions {
  readonly path: string;
  /** From the command line; wins over the file. */
  readonly logLevel: LogLevel | undefined;
}

export class SettingsInForce {
  readonly #options: SettingsInForceOptions;
  #loaded: LoadedSettings;
  #now: Settings;
  /** The mistake that was told last. */
  #toldOf: string | undefined;

  private constructor(options: SettingsInForceOptions, loaded: LoadedSettings) {
    this.#options = options;
    this.#loaded = loaded;
    this.#now = this.#settled();
  }

  static async load(options: SettingsInForceOptions): Promise<SettingsInForce> {
    return new SettingsInForce(options, await loadSettings(options.path));
  }

  get now(): Settings {
    return this.#now;
  }

  get level(): LogLevel {
    return this.#options.logLevel ?? this.#loaded.settings['log.level'];
  }

  get problem(): Failure | undefined {
    return this.#loaded.problem;
  }

  /** Reads the file anew; a broken one leaves the last good settings in force. */
  async reload(): Promise<void> {
    const next = await loadSettings(this.#options.path);
    this.#loaded =
      next.problem === undefined ? next : { settings: this.#loaded.settings, problem: next.problem };
    this.#now = this.#settled();
  }

  #settled(): Settings {
    return { ...this.#loaded.settings, 'log.level': this.level };
  }

  /** The mistake of now, once until it is another one. */
  untold(): Failure | undefined {
    const detail = this.problem?.data.detail;
    if (detail === this.#toldOf) return undefined;
    this.#toldOf = detail;
    return this.problem;
  }
}
