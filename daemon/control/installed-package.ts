// The package from which this daemon was started, as it lies on the disk now: an upgrade replaces it while the daemon runs.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Failure } from '../base/failure.ts';
import { object, text } from '../api/shape.ts';
import { fail } from '../errors/fail.ts';

const hasVersion = object<{ version: string }>({ version: text });

/** The next engine is started from these files, so that another version of them matters also before a restart. */
export class InstalledPackage {
  readonly #path: string;
  readonly #running: string;
  /** The file that was read last, by inode, size and time. */
  #stamp = '';
  #version: string | undefined;

  constructor(options: { readonly root: string; readonly running: string }) {
    this.#path = join(options.root, 'package.json');
    this.#running = options.running;
  }

  /** Why a restart is due, or why no engine can be started; undefined when the package is the one that runs. */
  get problem(): Failure | undefined {
    const info = statSync(this.#path, { throwIfNoEntry: false });
    if (info === undefined) return fail('package_away', { path: this.#path });
    const stamp = `${String(info.ino)} ${String(info.size)} ${String(info.mtimeMs)}`;
    if (stamp !== this.#stamp) {
      this.#stamp = stamp;
      this.#version = this.#read();
    }
    if (this.#version === undefined || this.#version === this.#running) return undefined;
    return fail('restart_due', { installed: this.#version, running: this.#running });
  }

  /** Undefined while a package manager writes the file. */
  #read(): string | undefined {
    try {
      const parsed: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      return hasVersion(parsed) ? parsed.version : undefined;
    } catch {
      this.#stamp = '';
      return undefined;
    }
  }
}
