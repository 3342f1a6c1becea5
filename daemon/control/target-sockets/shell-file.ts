// Writes the file that shells read for the target sockets of one context.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SHELL_FILE, shellFileText, shellKey } from '../../request/shell-file.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { writeAtomic } from '../../base/files/atomic-file.ts';
import type { Logger } from '../../base/log.ts';
import { textOf } from '../../base/failure.ts';
import { ownIdentity } from '../../base/process/identity.ts';
import type { CallerEnv } from '../../api/request.ts';
import { LruMap } from '../../base/lru-map.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { folderName } from './folder.ts';

/** Callers of one context that a shell knows. They differ in variables that lead to the same files, for example the SSH agent. */
const MAX_KEYS = 8;
/** Targets in the file. A shell reads it line by line, and asks for the others. */
const MAX_TARGETS = 128;

/** What the file says of the config. */
export interface ShellConfig {
  /** True when the config is another one in another working directory or terminal. */
  readonly dependsOnCaller: boolean;
  /** For the user of each command. */
  readonly warnings: readonly string[];
  readonly config: {
    readonly connections: {
      readonly defaultTarget?: string;
      readonly targets: ReadonlyMap<string, { readonly transport: string }>;
    };
  };
}

export interface ContextShellFileOptions {
  readonly version: string;
  readonly parent: string;
  /** The current config. Rejects when there is none. */
  readonly view: () => Promise<ShellConfig>;
  readonly inline: () => readonly string[];
  readonly log: Pick<Logger, 'warn'>;
}

export class ContextShellFile {
  readonly #options: ContextShellFileOptions;
  readonly #keys = new LruMap<string, true>(MAX_KEYS);
  readonly #writing = new Refresh(() => this.#write());
  #ready: readonly string[] = [];
  #written: string | undefined;
  #isRemoved = false;

  constructor(options: ContextShellFileOptions) {
    this.#options = options;
  }

  /** Adds a caller. */
  add(env: CallerEnv): void {
    const key = shellKey(env);
    if (key !== undefined) this.#keys.set(key, true);
  }

  /** Notes the targets that a command may use without asking the daemon. */
  setReady(targets: readonly string[]): void {
    if (targets.join('\n') === this.#ready.join('\n')) return;
    this.#ready = targets;
    void this.refresh();
  }

  /** Writes the file if it has changed. Never rejects: without it, shells ask the daemon. */
  async refresh(): Promise<void> {
    await this.#writing.request();
  }

  /** Never rejects. */
  async remove(): Promise<void> {
    this.#isRemoved = true;
    await this.#writing.request();
  }

  async #write(): Promise<void> {
    const { parent, log } = this.#options;
    const path = join(parent, SHELL_FILE);
    try {
      const text = this.#isRemoved ? undefined : await this.#text();
      if (text === this.#written && text !== undefined) return;
      if (text === undefined) await rm(path, { force: true });
      else await writeAtomic(path, text);
      this.#written = text;
    } catch (error) {
      this.#written = undefined;
      log.warn({ path, why: textOf(error) }, 'shells ask the daemon for each target');
    }
  }

  /** Undefined when no shell can decide by itself. */
  async #text(): Promise<string | undefined> {
    const { parent, inline, version } = this.#options;
    const { dependsOnCaller, warnings, config } = await this.#options.view();
    const keys = [...this.#keys.keys()].reverse();
    const { targets, defaultTarget = '' } = config.connections;
    if (dependsOnCaller || keys.length === 0) return undefined;
    const names = [...targets].map(([name, { transport }]) => ({ name, isLocal: transport === 'local' }));
    const local = names.flatMap(({ name, isLocal }) => (isLocal ? [name] : []));
    const remote = [
      ...names.flatMap(({ name, isLocal }) => (isLocal ? [] : [name])),
      ...inline().filter((one) => !hasSecret(one)),
    ];
    const name = defaultTarget.trim();
    if (hasSecret(name)) return undefined;
    const inFolder = (one: string): { name: string; folder: string } => ({
      name: one,
      folder: folderName(parent, one),
    });
    const { pid, start } = ownIdentity();
    return shellFileText({
      version,
      process: start === undefined ? undefined : { pid, start },
      keys,
      defaultTarget: name === '' || name === 'local' || local.includes(name) ? undefined : name,
      local,
      remote: remote.slice(0, MAX_TARGETS).map(inFolder),
      ready: warnings.length > 0 ? [] : this.#ready.slice(0, MAX_TARGETS).map(inFolder),
    });
  }
}

/** Such a target is not written to a file; shells ask the daemon for it. */
function hasSecret(target: string): boolean {
  return withoutCredentials(target) !== target;
}
