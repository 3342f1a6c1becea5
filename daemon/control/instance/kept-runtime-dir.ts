// The one owner of whether files can be made in the runtime dir. A logout or a cleaner removes it while the daemon runs, and its file system may
// become read-only. It is made again where that is possible. Where it is not, everything that has files in it waits, and a line of the log says
// so once.
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../base/async/clock.ts';
import { SingleFlight } from '../../base/async/single-flight.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { makeRuntimeDir } from './runtime-dir.ts';

/** ms after its return in which lost sockets are no news: the line about the return tells of them all. */
const RETURN_MS = 5000;

export interface KeptRuntimeDirOptions {
  readonly paths: BmuxdPaths;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** The states: there -> away (it cannot be made again, or is read-only; `problem` says why) -> there. */
export class KeptRuntimeDir {
  readonly #options: KeptRuntimeDirOptions;
  readonly #checks = new SingleFlight<'check', boolean>();
  #problem: Failure | undefined;
  #backAt = -Infinity;

  constructor(options: KeptRuntimeDirOptions) {
    this.#options = options;
  }

  /** A cause of `degraded`: why it is not there and cannot be made again, or takes no files. */
  get problem(): Failure | undefined {
    return this.#problem;
  }

  /** True while no file can be made in it. Asks the file system. */
  get isAway(): boolean {
    return this.#problem !== undefined || !this.#exists() || this.#refusal() !== undefined;
  }

  /** The level for a line about a lost socket. */
  get lossLevel(): 'warn' | 'debug' {
    return this.#options.clock.now() - this.#backAt < RETURN_MS ? 'debug' : 'warn';
  }

  /** Makes it again if it is gone. True when files can be made in it afterwards. Never rejects. */
  check(): Promise<boolean> {
    return this.#checks.run('check', () => this.#check());
  }

  async #check(): Promise<boolean> {
    const { paths, clock, log } = this.#options;
    const { dir } = paths;
    const isThere = this.#exists();
    const refusal = isThere ? this.#refusal() : undefined;
    if (this.#problem === undefined && isThere && refusal === undefined) return true;
    const problem = refusal ?? (await this.#make());
    if (problem !== undefined) {
      const isNew = this.#problem?.code !== problem.code;
      this.#problem = problem;
      const text = problem === refusal ? 'the runtime dir takes no files' : 'the runtime dir is gone';
      if (isNew) log.warn({ dir, err: problem.data }, `${text}; waiting for its return`);
      return false;
    }
    this.#backAt = clock.now();
    if (this.#problem === undefined) log.warn({ dir }, 'the runtime dir was gone; it has been made again');
    else log.info({ dir }, 'the runtime dir is back');
    this.#problem = undefined;
    return true;
  }

  /** Resolves with why it cannot be made. Never rejects. */
  async #make(): Promise<Failure | undefined> {
    const { paths } = this.#options;
    try {
      await makeRuntimeDir(paths);
      return undefined;
    } catch (error) {
      return fail('runtime_dir_gone', { path: paths.dir, why: textOf(error) }, error);
    }
  }

  /** Why no file can be made in it although it is there: a read-only file system, which holds for root, too, or its mode. */
  #refusal(): Failure | undefined {
    const { dir, enginesDir } = this.#options.paths;
    for (const path of [dir, enginesDir])
      try {
        accessSync(path, constants.W_OK);
      } catch (error) {
        return fail('runtime_dir_unwritable', { path, why: textOf(error) }, error);
      }
    return undefined;
  }

  /** Engines bind their sockets in `engines` but do not make it. */
  #exists(): boolean {
    const { enginesDir, controlSocket } = this.#options.paths;
    return existsSync(enginesDir) && existsSync(dirname(controlSocket));
  }
}
