// The config of one context, always as fresh as its files: re-read when one of them has changed, the last good one kept when they are bad.
import { Failure } from '../../base/failure.ts';
import type { BmuxPaths, Env } from '../../base/paths.ts';
import type { BmuxConfig } from './types.ts';
import { fail } from '../../errors/fail.ts';
import { composeConfig, type Composed } from './compose.ts';
import { dependsOnCaller } from './composition.ts';
import { anyChanged, type Marks } from '../files/file.ts';
import { readLayers, type Layers } from './layers.ts';
import { agrees, noted, type Reads } from './reads.ts';
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
  /** A source of the same files for another environment: what was good there is where this one begins. */
  readonly beside?: ConfigSource | undefined;
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
  /** What the files made read of the environment. */
  readonly reads: Reads;
}

/** What one reading of all files gave. */
interface Reading {
  readonly marks: Marks;
  readonly reads: Reads;
  readonly layers?: Layers;
  readonly slot?: ActiveSlot;
  readonly problem?: Failure;
}

type Good = Reading & { readonly layers: Layers };

/** A config with all that was read of the environment for it, its files included. */
interface Made extends Composed {
  readonly reads: Reads;
}

/** Everything that differs in what callers get from the same files. */
interface Memo {
  readonly layers: Layers;
  readonly key: string;
  readonly made: Made;
}

/** What there is for a caller, or why there is nothing; and what was read of the environment until that was clear. */
interface Answer {
  readonly outcome: CurrentConfig | Failure;
  readonly reads: Reads;
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
  #good: Good | undefined;
  /** One entry: most callers of a context differ in nothing that matters here. */
  #memo: Memo | undefined;
  /** Of the last answer. */
  #reads: Reads | undefined;

  constructor(options: ConfigSourceOptions) {
    this.#options = options;
    const { beside, env } = options;
    const good = beside === undefined ? undefined : beside.#good;
    if (good !== undefined && agrees(env, good.reads)) this.#good = good;
  }

  /** Every file that decides, existing or not; empty before the first `current()`. */
  files(): readonly string[] {
    return [...new Set([...(this.#reading?.marks.keys() ?? []), ...(this.#good?.layers.files ?? [])])];
  }

  /** What was read of the environment for the last answer; undefined before the first. */
  get reads(): Reads | undefined {
    return this.#reads;
  }

  /** False for an environment that holds something else there; before the first answer nobody can tell, and all agree. */
  agrees(env: Env): boolean {
    return this.#reads === undefined || agrees(env, this.#reads);
  }

  /**
   * The config for a caller with the environment of this source, after a look at the files. Fails with `config_unloadable` when there never
   * was a good one, and with `slot_unknown` whenever the manifest was read and does not declare the slot.
   */
  async current(caller: CallerFacts = {}): Promise<CurrentConfig> {
    return settled(await this.#answer(caller));
  }

  /** The same for a caller with `env`; undefined when the files made read something that is otherwise there, so that another source must answer. */
  async currentFor(env: Env, caller: CallerFacts): Promise<CurrentConfig | undefined> {
    const answer = await this.#answer(caller);
    return agrees(env, answer.reads) ? settled(answer) : undefined;
  }

  async #answer(caller: CallerFacts): Promise<Answer> {
    const answer = this.#answered(await this.#fresh(), caller);
    this.#reads = answer.reads;
    return answer;
  }

  #answered(reading: Reading, caller: CallerFacts): Answer {
    const { slot, problem, layers } = reading;
    if (problem?.code === 'slot_unknown') return { outcome: problem, reads: reading.reads };
    const active = slot?.slot === undefined ? {} : { slot: slot.slot };
    const warned = slot?.warnings ?? [];
    const reads = new Map(reading.reads);
    let bad = problem;
    if (layers !== undefined) {
      const now = { ...reading, layers };
      try {
        const { config, warnings, reads: all } = this.#composed(now, caller, reads);
        this.#good = now;
        return { reads: all, outcome: { config, ...active, warnings: [...warned, ...warnings], reads: all } };
      } catch (error) {
        bad = asBad(error);
      }
    }
    const unloadable = { reads, outcome: fail('config_unloadable', {}, bad) };
    if (this.#good === undefined || this.#good.layers === layers) return unloadable;
    for (const [name, value] of this.#good.reads) reads.set(name, value);
    let last: Made;
    try {
      last = this.#composed(this.#good, caller, reads);
    } catch (error) {
      asBad(error);
      return unloadable;
    }
    for (const [name, value] of last.reads) reads.set(name, value);
    const outcome = {
      config: last.config,
      ...active,
      warnings: [...warned, ...last.warnings],
      ...(bad === undefined ? {} : { problem: bad }),
      reads,
    };
    return { reads, outcome };
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
    const { paths, explicitFile, programName, cwd, daemon } = this.#options;
    const marks: Marks = new Map();
    const reads = new Map<string, string | undefined>();
    const env = noted(this.#options.env, reads);
    let slot: ActiveSlot | undefined;
    try {
      slot = await activeSlot({ env, paths, programName, explicit: this.#options.slot, daemon, cwd, marks });
      const layers = await readLayers({ env, paths, slot: slot.slot, explicitFile, cwd, marks });
      return { marks, reads, slot, layers };
    } catch (error) {
      return { marks, reads, ...(slot === undefined ? {} : { slot }), problem: asBad(error) };
    }
  }

  /** What is read of the environment is noted in `reads` also when it fails. */
  #composed({ layers }: Good, { cwd, term }: CallerFacts, reads: Map<string, string | undefined>): Made {
    const key = dependsOnCaller(layers.docs) ? JSON.stringify([cwd, term]) : '';
    if (this.#memo?.layers === layers && this.#memo.key === key) return this.#memo.made;
    const { daemon, platform = process.platform } = this.#options;
    const env = noted(this.#options.env, reads);
    const known = (name: string): string | undefined => env[name] ?? daemon?.[name];
    // Read when a rule asks for them, and not before: what no rule asks for decides nothing.
    const composed = composeConfig(layers, {
      cwd,
      term,
      get host() {
        return known('HOSTNAME') ?? known('HOST') ?? '';
      },
      os: platform === 'darwin' ? 'macos' : platform,
      get runtimeName() {
        return env['BMUX_RUNTIME'] ?? '';
      },
      env,
      ...(daemon === undefined ? {} : { daemon }),
    });
    const made = { ...composed, reads };
    this.#memo = { layers, key, made };
    return made;
  }
}

function settled({ outcome }: Answer): CurrentConfig {
  if (outcome instanceof Failure) throw outcome;
  return outcome;
}
