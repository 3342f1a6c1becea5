// The config of one context: composed for its environment from the files as they are now, or the last valid one while they are invalid.
import { Failure } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import type { ConfigValue } from '../files/origins.ts';
import type { BmuxConfig } from './types.ts';
import { fail } from '../../errors/fail.ts';
import { composeConfig, type Composed } from './compose.ts';
import { dependsOnCaller } from './composition.ts';
import type { ConfigFiles, FileInputs, Reading } from './config-files.ts';
import type { KnownGateways } from './known-gateways.ts';
import type { Layers } from './layers.ts';
import { agrees, noted, type Reads } from './reads.ts';
import type { Slot } from './slots.ts';

export interface ConfigSourceOptions extends FileInputs {
  /** Reads the files, for all sources of the same files. */
  readonly files: ConfigFiles;
  readonly platform?: NodeJS.Platform | undefined;
  /** A source of the same files for another environment. Its last valid config is the initial one here if the environments agree. */
  readonly beside?: ConfigSource | undefined;
}

/** The facts of a request that `[composition]` rules can match. */
export interface CallerFacts {
  readonly cwd?: string | undefined;
  readonly term?: string | undefined;
}

export interface CurrentConfig {
  readonly config: BmuxConfig;
  readonly slot?: Slot;
  readonly warnings: readonly string[];
  /** The values that the files set, with their origins. */
  readonly values: () => readonly ConfigValue[];
  /** Why the current files are not used; `config` is then the last valid one. */
  readonly problem?: Failure;
  /** Environment variables on which the result depends. */
  readonly reads: Reads;
  /** `factsKey` of the caller when the result depends on its facts, else empty. */
  readonly facts: string;
}

/** Equal for callers with the same facts. */
export function factsKey({ cwd, term }: CallerFacts): string {
  return JSON.stringify([cwd, term]);
}

type Good = Reading & { readonly layers: Layers };

/** A composed config and all environment variables that were read for it, also those read to find its files. */
interface Made extends Composed {
  readonly reads: Reads;
  readonly facts: string;
}

/** What was last composed from some layers: the config, or why there is none. */
interface Memo<T> {
  readonly layers: Layers;
  readonly knownGateways: KnownGateways;
  readonly facts: string;
  readonly made: T;
}

/** Why no config could be composed, and the environment variables that were read until then. */
interface Refused {
  readonly why: Failure;
  readonly reads: Reads;
}

/** The config for a caller or the failure, and the environment variables on which this outcome depends. */
interface ConfigOutcome {
  readonly outcome: CurrentConfig | Failure;
  readonly reads: Reads;
}

function asBad(error: unknown): Failure {
  if (error instanceof Failure) return error;
  throw error;
}

/** See the header of this file. Holds no handle and needs no closing. */
export class ConfigSource {
  /** Without `beside`, which must not keep sources in memory that are no longer used. */
  readonly #options: Omit<ConfigSourceOptions, 'beside'>;
  /** The reading of the last answer. */
  #reading: Reading | undefined;
  /** The newest layers from which a config could be composed. */
  #good: Good | undefined;
  /** One entry is enough, because most callers of a context get the same config. */
  #memo: Memo<Made> | undefined;
  /** The same for layers of which there is none: to find that out anew for each request would take as long as to compose them. */
  #refused: Memo<Refused> | undefined;
  /** Environment variables that were read for the last answer. */
  #reads: Reads | undefined;

  constructor(options: ConfigSourceOptions) {
    const { beside, ...others } = options;
    this.#options = others;
    const good = beside === undefined ? undefined : beside.#good;
    if (good !== undefined && agrees(options.env, good.reads)) this.#good = good;
  }

  /** Every file on which the config depends, existing or not; empty before the first `current()`. */
  files(): readonly string[] {
    return [...new Set([...(this.#reading?.marks.keys() ?? []), ...(this.#good?.layers.files ?? [])])];
  }

  /** Environment variables that were read for the last answer; undefined before the first. */
  get reads(): Reads | undefined {
    return this.#reads;
  }

  /** True when all variables read for the last answer have the same value in `env`, and before the first answer. */
  agrees(env: Env): boolean {
    return this.#reads === undefined || agrees(env, this.#reads);
  }

  /**
   * Checks the files and returns the config for a caller with this source's environment. Fails with `config_unloadable` when there never was a
   * valid config. Fails with `slot_unknown` when the manifest was read and does not declare the slot.
   */
  async current(caller: CallerFacts = {}): Promise<CurrentConfig> {
    return settled(await this.#answer(caller));
  }

  /** Like `current`, for a caller with `env`. Undefined when a variable that was read has another value in `env`; another source must answer then. */
  async currentFor(env: Env, caller: CallerFacts): Promise<CurrentConfig | undefined> {
    const answer = await this.#answer(caller);
    return agrees(env, answer.reads) ? settled(answer) : undefined;
  }

  async #answer(caller: CallerFacts): Promise<ConfigOutcome> {
    const reading = await this.#options.files.current(this.#options);
    this.#reading = reading;
    const answer = this.#answered(reading, caller);
    this.#reads = answer.reads;
    return answer;
  }

  #answered(reading: Reading, caller: CallerFacts): ConfigOutcome {
    const { slot, problem, layers } = reading;
    if (problem?.code === 'slot_unknown') return { outcome: problem, reads: reading.reads };
    const active = slot?.slot === undefined ? {} : { slot: slot.slot };
    const warned = slot?.warnings ?? [];
    const reads = new Map(reading.reads);
    let bad = problem;
    if (layers !== undefined) {
      const now = { ...reading, layers };
      try {
        const { config, warnings, values, reads: all, facts } = this.#composed(now, caller, reads);
        this.#good = now;
        const outcome = { config, ...active, warnings: [...warned, ...warnings], values, reads: all, facts };
        return { reads: all, outcome };
      } catch (error) {
        bad = asBad(error);
      }
    }
    const unloadable = { reads, outcome: fail('config_unloadable', {}, bad) };
    if (this.#good === undefined || this.#good.layers === layers) return unloadable;
    for (const [name, value] of this.#good.reads) reads.set(name, value);
    let last: Made;
    try {
      last = this.#composed({ ...this.#good, knownGateways: reading.knownGateways }, caller, reads);
    } catch (error) {
      asBad(error);
      return unloadable;
    }
    for (const [name, value] of last.reads) reads.set(name, value);
    const outcome = {
      config: last.config,
      ...active,
      warnings: [...warned, ...last.warnings],
      values: last.values,
      ...(bad === undefined ? {} : { problem: bad }),
      reads,
      facts: last.facts,
    };
    return { reads, outcome };
  }

  /** Records variables in `reads`, also when it fails. */
  #composed(
    { layers, knownGateways }: Good,
    caller: CallerFacts,
    reads: Map<string, string | undefined>,
  ): Made {
    const facts = dependsOnCaller(layers.docs) ? factsKey(caller) : '';
    const of = { layers, knownGateways, facts };
    const known = remembered(this.#memo, of);
    if (known !== undefined) return known;
    const refused = remembered(this.#refused, of);
    if (refused !== undefined) {
      for (const [name, value] of refused.reads) reads.set(name, value);
      throw refused.why;
    }
    try {
      const made = { ...this.#compose(of, caller, reads), reads, facts };
      this.#memo = { ...of, made };
      return made;
    } catch (error) {
      this.#refused = { ...of, made: { why: asBad(error), reads: new Map(reads) } };
      throw error;
    }
  }

  #compose(
    { layers, knownGateways }: Omit<Memo<unknown>, 'made'>,
    caller: CallerFacts,
    reads: Map<string, string | undefined>,
  ): Composed {
    const { daemon, platform = process.platform } = this.#options;
    const env = noted(this.#options.env, reads);
    const known = (name: string): string | undefined => env[name] ?? daemon?.[name];
    // These are getters, so that a variable is recorded only when a rule uses it.
    return composeConfig(
      layers,
      {
        ...caller,
        get host() {
          return known('HOSTNAME') ?? known('HOST') ?? '';
        },
        os: platform === 'darwin' ? 'macos' : platform,
        get runtimeName() {
          return env['BMUX_RUNTIME'] ?? '';
        },
        env,
        ...(daemon === undefined ? {} : { daemon }),
      },
      knownGateways,
    );
  }
}

function remembered<T>(memo: Memo<T> | undefined, of: Omit<Memo<unknown>, 'made'>): T | undefined {
  const { layers, knownGateways, facts } = of;
  const isSame = memo?.layers === layers && memo.knownGateways === knownGateways && memo.facts === facts;
  return isSame ? memo.made : undefined;
}

function settled({ outcome }: ConfigOutcome): CurrentConfig {
  if (outcome instanceof Failure) throw outcome;
  return outcome;
}
