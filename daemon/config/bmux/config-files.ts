// Reads the files of a config, once for all callers whose environments agree in what decides which files these are. Composing the config is
// the work of daemon/config/bmux/source.ts.
import { Refresh } from '../../base/async/single-flight.ts';
import { Failure } from '../../base/failure.ts';
import type { BmuxPaths, Env } from '../../base/paths.ts';
import type { Marks } from '../files/file.ts';
import type { SteadyFiles } from '../files/steady-files.ts';
import { knownGatewaysFile, readKnownGateways, type KnownGateways } from './known-gateways.ts';
import { readLayers, type Layers } from './layers.ts';
import { agrees, noted, type Reads } from './reads.ts';
import { activeSlot, type ActiveSlot } from './slots.ts';

/** What finds the files of a caller. */
export interface FileInputs {
  /** The caller's environment. */
  readonly env: Env;
  readonly paths: BmuxPaths;
  /** The `slot` field of the caller's requests. */
  readonly slot?: string | undefined;
  readonly programName?: string | undefined;
  readonly explicitFile?: string | undefined;
  /** The caller's working directory, against which relative paths in the environment are resolved. */
  readonly cwd?: string | undefined;
  /** The environment of bmuxd, used for variables that the caller's lacks. */
  readonly daemon?: Env | undefined;
}

/** The result of reading all files once. */
export interface Reading {
  readonly marks: Marks;
  /** Variables of the environment that decided which files were read. */
  readonly reads: Reads;
  readonly layers?: Layers;
  readonly knownGateways: KnownGateways;
  readonly slot?: ActiveSlot;
  readonly problem?: Failure;
}

interface Kept extends Reading {
  readonly inputs: FileInputs;
}

/** Readings that are kept; the oldest are dropped first. Only a manifest of slots makes the files depend on the environment. */
const MAX_READINGS = 8;

/** All callers must have the same key of their context (daemon/control/contexts/context-key.ts). */
export class ConfigFiles {
  readonly #files: SteadyFiles;
  #readings: readonly Kept[] = [];
  /** See `renew`. */
  #isStale = false;
  /** Callers that wait for the next look. */
  readonly #asking = new Set<FileInputs>();
  readonly #looks = new Refresh(() => this.#look());

  constructor(files: SteadyFiles) {
    this.#files = files;
  }

  /**
   * Returns the current content of the files for a caller. A check already under way may have missed a change that the caller knows of. So this
   * call waits for its end and shares the next check with all other waiting calls.
   */
  async current(inputs: FileInputs): Promise<Reading> {
    this.#asking.add(inputs);
    await this.#looks.request();
    // None is left when more callers have asked together than readings are kept.
    return this.#readings.findLast(({ reads }) => agrees(inputs.env, reads)) ?? this.#read(inputs);
  }

  /** The next answers are made from files that are read after this call, whatever their marks say. */
  renew(): void {
    this.#isStale = true;
  }

  /** Reads what has changed, and what the waiting callers need and nobody has read. */
  async #look(): Promise<void> {
    const asking = [...this.#asking];
    this.#asking.clear();
    const isStale = this.#isStale;
    this.#isStale = false;
    const now: Kept[] = [];
    const isRead = ({ env }: FileInputs): boolean => now.some(({ reads }) => agrees(env, reads));
    for (const reading of this.#readings) {
      if (!isStale && !(await this.#files.anyChanged(reading.marks))) now.push(reading);
      else if (!isRead(reading.inputs)) now.push(await this.#read(reading.inputs));
    }
    for (const inputs of asking) if (!isRead(inputs)) now.push(await this.#read(inputs));
    this.#readings = now.slice(-MAX_READINGS);
  }

  async #read(inputs: FileInputs): Promise<Kept> {
    const { paths, explicitFile, programName, cwd, daemon, slot: explicit } = inputs;
    const { read } = this.#files;
    const marks: Marks = new Map();
    const reads = new Map<string, string | undefined>();
    const env = noted(inputs.env, reads);
    // Also with a broken config, and without keeping a vanished file: a pin that was removed must not count any more.
    const knownGateways = await readKnownGateways(knownGatewaysFile(paths), marks);
    let slot: ActiveSlot | undefined;
    try {
      slot = await activeSlot({ env, paths, programName, explicit, daemon, cwd, marks, read });
      const layers = await readLayers({ env, paths, slot: slot.slot, explicitFile, cwd, marks, read });
      return { inputs, marks, reads, slot, layers, knownGateways };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { inputs, marks, reads, knownGateways, ...(slot === undefined ? {} : { slot }), problem: error };
    }
  }
}
