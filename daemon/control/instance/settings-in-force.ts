// Holds the settings in force, which are those of the last valid bmuxd.toml, and the error of the current file if it is invalid.
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import type { Failure } from '../../base/failure.ts';
import type { LogLevel } from '../../base/log.ts';
import { SteadyFiles } from '../../config/files/steady-files.ts';
import type { ConfigValue } from '../../config/files/origins.ts';
import { settingsValues } from '../../config/settings/values.ts';
import { loadSettings, type LoadedSettings } from '../../config/settings/load.ts';
import type { Settings } from '../../config/settings/table.ts';

export interface SettingsInForceOptions {
  readonly path: string;
  /** From the command line; overrides the file. */
  readonly logLevel: LogLevel | undefined;
}

export class SettingsInForce {
  /** What reads the file. It is closed by who watches the file. */
  readonly files: SteadyFiles;
  readonly #options: SettingsInForceOptions;
  #loaded: LoadedSettings;
  #now: Settings;
  /** Text of the error that `untold` returned last. */
  #toldOf: string | undefined;

  private constructor(options: SettingsInForceOptions, files: SteadyFiles, loaded: LoadedSettings) {
    this.#options = options;
    this.files = files;
    this.#loaded = loaded;
    this.#now = this.#settled();
  }

  static async load(options: SettingsInForceOptions): Promise<SettingsInForce> {
    const files = new SteadyFiles(SYSTEM_CLOCK);
    return new SettingsInForce(options, files, await loadSettings(options.path, files.read));
  }

  get path(): string {
    return this.#options.path;
  }

  readonly current = (): Settings => this.#now;

  get level(): LogLevel {
    return this.#options.logLevel ?? this.#loaded.settings['log.level'];
  }

  /** Every setting with its origin. */
  values(): ConfigValue[] {
    const values = settingsValues(this.#loaded);
    const { logLevel } = this.#options;
    if (logLevel === undefined) return values;
    const given = { key: 'log.level', value: logLevel, origin: 'command line' };
    return values.map((row) => (row.key === given.key ? given : row));
  }

  get problem(): Failure | undefined {
    return this.#loaded.problem;
  }

  /** Reads the file again. With an invalid file the last valid settings stay in force. */
  async reload(): Promise<void> {
    const next = await loadSettings(this.path, this.files.read);
    this.#loaded = next.problem === undefined ? next : { ...this.#loaded, problem: next.problem };
    this.#now = this.#settled();
  }

  #settled(): Settings {
    return { ...this.#loaded.settings, 'log.level': this.level };
  }

  /** The current error; undefined when the last call returned the same one. */
  untold(): Failure | undefined {
    const detail = this.problem?.data.detail;
    if (detail === this.#toldOf) return undefined;
    this.#toldOf = detail;
    return this.problem;
  }
}
