// The one owner of whether the runtime dir is there. A logout or a cleaner removes it while the daemon runs. It is made again where that is
// possible. Where it is not, everything that has files in it waits, and a line of the log says so once.
import { existsSync } from 'node:fs';
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

/** The states: there -> away (it cannot be made again; `problem` says why) -> there. */
export class KeptRuntimeDir {
  readonly #options: KeptRuntimeDirOptions;
  readonly #checks = new SingleFlight<'check', boolean>();
  #problem: Failure | undefined;
  #backAt = -Infinity;

  constructor(options: KeptRuntimeDirOptions) {
    this.#options = options;
  }

  /** A cause of `degraded`: why it is not there and cannot be made again. */
  get problem(): Failure | undefined {
    return this.#problem;
  }

  /** True while no file can be made in it. Asks the file system. */
  get isAway(): boolean {
    return this.#problem !== undefined || !this.#exists();
  }

  /** The level for a line about a lost socket. */
  get lossLevel(): 'warn' | 'debug' {
    return this.#options.clock.now() - this.#backAt < RETURN_MS ? 'debug' : 'warn';
  }

  /** Makes it again if it is gone. True when it is there afterwards. Never rejects. */
  check(): Promise<boolean> {
    return this.#checks.run('check', () => this.#check());
  }

  async #check(): Promise<boolean> {
    const { paths, clock, log } = this.#options;
    const { dir } = paths;
    if (this.#problem === undefined && this.#exists()) return true;
    try {
      await makeRuntimeDir(paths);
    } catch (error) {
      const isNew = this.#problem === undefined;
      this.#problem = fail('runtime_dir_gone', { path: dir, why: textOf(error) }, error);
      if (isNew)
        log.warn({ dir, err: this.#problem.data }, 'the runtime dir is gone; waiting for its return');
      return false;
    }
    this.#backAt = clock.now();
    if (this.#problem === undefined) log.warn({ dir }, 'the runtime dir was gone; it has been made again');
    else log.info({ dir }, 'the runtime dir is back');
    this.#problem = undefined;
    return true;
  }

  /** Engines bind their sockets in `engines` but do not make it. */
  #exists(): boolean {
    const { enginesDir, controlSocket } = this.#options.paths;
    return existsSync(enginesDir) && existsSync(dirname(controlSocket));
  }
}
