// The config of one context, always as fresh as its files: re-read when one of them has changed, the last good one kept when they are bad.
import { Failure } from '../base/failure.ts';
import type { BmuxPaths, Env } from '../base/paths.ts';
import type { BmuxConfig } from '../wire/config-types.ts';
import { fail } from '../wire/fail.ts';
import { composeConfig, type Composed } from './compose.ts';
import { dependsOnCaller } from './composition.ts';
import { anyChanged, type Marks } from './file.ts';
import { readLayers, type Layers } from './layers.ts';
import { activeSlot, type ActiveSlot, type Slot } from './slots.ts';

export interface ConfigSourceOptions {
  /** The caller's environment. */
  readonly env: Env;
  readonly paths: BmuxPaths;
  /** The `slot` field of the requests of this context. */
  readonly slot?: string | undefined;
  readonly programName?: string | undefined;
  readonly explicitFile?: string | undefined;
  /** Resolves relative paths in the environment; the caller's working directory. */
  readonly cwd?: string | undefined;
  /** The environment of bmuxd, asked for variables that the caller's does not have. */
  readonly daemon?: Env | undefined;
  readonly platform?: NodeJS.Platform | undefined;
}

/** The part of a request that `[composition]` may look at. */
export interface CallerFacts {
  readonly cwd?: string | undefined;
  readonly term?: string | undefined;
}

export interface CurrentConfig {
  readonly config: BmuxConfig;
  readonly slot?: Slot;
  readonly warnings: readonly string[];
  /** Why the files as they are now are not in force; `config` is then the last good one. */
  readonly problem?: Failure;
}

/** What one reading of all files gave. */
interface Reading {
  readonly marks: Marks;
  readonly layers?: Layers;
  readonly slot?: ActiveSlot;
  readonly problem?: Failure;
}

/** Everything that differs in what callers get from the same files. */
interface Memo {
  readonly layers: Layers;
  readonly key: string;
  readonly composed: Composed;
}

function asBad(error: unknown): Failure {
  if (error instanceof Failure) return error;
  throw error;
}

/** See the head of this file. Holds no handle and needs no closing. */
export class ConfigSource {
  readonly #options: ConfigSourceOptions;
  #reading: Reading | undefined;
  #looking: Promise<Reading> | undefined;
  #lookingNext: Promise<Reading> | undefined;
  /** The newest layers from which a config could be composed. */
  #good: Layers | undefined;
  /** One entry: most callers of a context differ in nothing that matters here. */
  #memo: Memo | undefined;

  constructor(options: ConfigSourceOptions) {
    this.#options = options;
  }

  /** Every file that decides, existing or not; empty before the first `current()`. */
  files(): readonly string[] {
    return [...new Set([...(this.#reading?.marks.keys() ?? []), ...(this.#good?.files ?? [])])];
  }

  /**
   * The config for a caller, after a look at the files. Fails with `config_unloadable` when there never was a good one, and with
   * `slot_unknown` whenever the manifest was read and does not declare the slot.
   */
  async current(caller: CallerFacts = {}): Promise<CurrentConfig> {
    const { layers, slot, problem } = await this.#fresh();
    if (problem?.code === 'slot_unknown') throw problem;
    const active = slot?.slot === undefined ? {} : { slot: slot.slot };
    const warned = slot?.warnings ?? [];
    let bad = problem;
    if (layers !== undefined) {
      try {
        const { config, warnings } = this.#composed(layers, caller);
        this.#good = layers;
        return { config, ...active, warnings: [...warned, ...warnings] };
      } catch (error) {
        bad = asBad(error);
      }
    }
    if (this.#good === undefined || this.#good === layers) throw fail('config_unloadable', {}, bad);
    let last: Composed;
    try {
      last = this.#composed(this.#good, caller);
    } catch {
      throw fail('config_unloadable', {}, bad);
    }
    return {
      config: last.config,
      ...active,
      warnings: [...warned, ...last.warnings],
      ...(bad === undefined ? {} : { problem: bad }),
    };
  }

  /**
   * What the files hold now. A look that began before this call may have missed a change that this caller knows of, so it waits for
   * that one to end and shares the next with everybody else who waits.
   */
  #fresh(): Promise<Reading> {
    if (this.#looking === undefined) return this.#begin();
    this.#lookingNext ??= this.#beginAfter(this.#looking);
    return this.#lookingNext;
  }

  async #beginAfter(looking: Promise<unknown>): Promise<Reading> {
    // How that one ended is told to those who asked for it.
    await Promise.allSettled([looking]);
    this.#lookingNext = undefined;
    return this.#begin();
  }

  #begin(): Promise<Reading> {
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<Reading> {
    const before = this.#reading;
    if (before !== undefined && !(await anyChanged(before.marks))) return before;
    this.#reading = await this.#read();
    return this.#reading;
  }

  async #read(): Promise<Reading> {
    const { env, paths, explicitFile, programName, cwd, daemon } = this.#options;
    const marks: Marks = new Map();
    let slot: ActiveSlot | undefined;
    try {
      slot = await activeSlot({ env, paths, programName, explicit: this.#options.slot, daemon, cwd, marks });
      const layers = await readLayers({ env, paths, slot: slot.slot, explicitFile, cwd, marks });
      return { marks, slot, layers };
    } catch (error) {
      return { marks, ...(slot === undefined ? {} : { slot }), problem: asBad(error) };
    }
  }

  #composed(layers: Layers, { cwd, term }: CallerFacts): Composed {
    const key = dependsOnCaller(layers.docs) ? JSON.stringify([cwd, term]) : '';
    if (this.#memo?.layers === layers && this.#memo.key === key) return this.#memo.composed;
    const { env, daemon, platform = process.platform } = this.#options;
    const known = (name: string): string | undefined => env[name] ?? daemon?.[name];
    const composed = composeConfig(layers, {
      cwd,
      term,
      host: known('HOSTNAME') ?? known('HOST') ?? '',
      os: platform === 'darwin' ? 'macos' : platform,
      runtimeName: env['BMUX_RUNTIME'] ?? '',
      env,
      ...(daemon === undefined ? {} : { daemon }),
    });
    this.#memo = { layers, key, composed };
    return composed;
  }
}
