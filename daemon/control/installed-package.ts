// The package from which this daemon was started, as it lies on the disk now: an upgrade replaces it while the daemon runs. No engine of
// another version is started: the daemon restarts itself whole instead.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isOutOfFiles, type Failure } from '../base/failure.ts';
import { asRead, stampNow } from '../base/files/stamp.ts';
import type { Logger } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import { packageRoot, programPath } from '../base/version.ts';
import { object, text } from '../api/shape.ts';
import { asFailure, fail } from '../errors/fail.ts';

const hasVersion = object<{ version: string }>({ version: text });

/** ms from one attempt to restart with the same files to the next: the last one may have ended without success. */
const RESTART_AGAIN_MS = 30_000;
/** The programs, relative to the root: what an engine and `bmuxd restart` load. */
const PROGRAMS = 'dist/daemon/bin';
/** ms since the last change of a program after which a package manager has written them all. */
const QUIET_MS = 1000;

export interface InstalledPackageOptions {
  readonly root: string;
  readonly running: string;
  /** Starts `bmuxd restart` of the package on the disk; undefined where the end of this process would end more than the daemon. */
  readonly restart: (() => void) | undefined;
  readonly log: Pick<Logger, 'warn'>;
  /** The time, ms, as the file system has it. */
  readonly now?: () => number;
}

export class InstalledPackage {
  readonly #options: InstalledPackageOptions;
  readonly #path: string;
  /** Of the file that was read last. */
  #stamp = '';
  #version: string | undefined;
  /** Why that file could not be read, although it may be whole. */
  #lack: Failure | undefined;
  /** performance.now() of the last attempt to restart, and the change times of the programs that it was made with. */
  #restarted: { readonly at: number; readonly programs: string } | undefined;

  constructor(options: InstalledPackageOptions) {
    this.#options = options;
    this.#path = join(options.root, 'package.json');
  }

  /** Why a restart is due, or why no engine can be started; undefined when the package is the one that runs. */
  get problem(): Failure | undefined {
    const { running } = this.#options;
    const stamp = stampNow(this.#path);
    if (stamp === '') return fail('package_away', { path: this.#path });
    if (stamp !== this.#stamp) {
      this.#stamp = asRead(stamp);
      this.#version = this.#read();
    }
    if (this.#version === undefined || this.#version === running) return undefined;
    return fail('restart_due', { installed: this.#version, running });
  }

  /**
   * Why no engine may be started now; undefined when one may. Where the package is of another version, the daemon is restarted. Nothing is
   * started from files that are being written: an engine would end by a syntax error, and a restart that fails is not tried again soon.
   */
  readonly refusal = (): Failure | undefined => {
    const { problem } = this;
    const { root, restart, log, now = Date.now } = this.#options;
    const changes = this.#changesOfPrograms();
    const isBeingWritten = changes.some((ms) => Math.abs(now() - ms) < QUIET_MS);
    if (isBeingWritten) return fail('package_being_written', { path: join(root, PROGRAMS) });
    // A package manager writes the file: the others may be of any version.
    if (problem === undefined)
      return this.#version === undefined
        ? (this.#lack ?? fail('package_away', { path: this.#path }))
        : undefined;
    if (problem.code !== 'restart_due' || restart === undefined) return problem;
    const [at, programs, last] = [performance.now(), changes.join(' '), this.#restarted];
    if (last?.programs === programs && at - last.at < RESTART_AGAIN_MS) return problem;
    this.#restarted = { at, programs };
    log.warn({ code: problem.code, why: problem.message }, 'an engine is needed: bmuxd restarts itself');
    restart();
    return problem;
  };

  /** When each of the programs was changed last, ms; the folder shows one that is missing. */
  #changesOfPrograms(): number[] {
    const folder = join(this.#options.root, PROGRAMS);
    try {
      return ['.', ...readdirSync(folder)].map((name) => statSync(join(folder, name)).ctimeMs);
    } catch {
      // A package without programs is away, or is being replaced: the next look sees more.
      return [];
    }
  }

  /** Undefined while a package manager writes the file. */
  #read(): string | undefined {
    try {
      const parsed: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      return hasVersion(parsed) ? parsed.version : undefined;
    } catch (error) {
      this.#lack = isOutOfFiles(error) ? asFailure(error) : undefined;
      this.#stamp = '';
      return undefined;
    }
  }
}

/** The package of this process. `mayRestart`: whether the end of this process would end nothing but the daemon. */
export function installedPackage(options: {
  readonly version: string;
  readonly env: Env;
  readonly log: Logger;
  readonly mayRestart: boolean;
}): InstalledPackage {
  const { version, env, log, mayRestart } = options;
  const restart = (): void => {
    restartWhole(env, log);
  };
  return new InstalledPackage({
    root: packageRoot(),
    running: version,
    restart: mayRestart ? restart : undefined,
    log,
  });
}

/** Starts `bmuxd restart` as a process that outlives this one. It asks the service manager, or starts the next daemon beside this one. */
function restartWhole(env: Env, log: Pick<Logger, 'warn'>): void {
  const child = spawn(process.execPath, [programPath(), 'restart'], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: { ...env },
  });
  child.once('error', (error) => {
    log.warn({ err: error }, 'bmuxd restart cannot be started');
  });
  child.once('exit', (status, signal) => {
    if (status !== 0) log.warn({ status, signal }, 'bmuxd restart has failed');
  });
  child.unref();
}
