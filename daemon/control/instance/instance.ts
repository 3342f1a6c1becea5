// This daemon as the only one of its runtime dir: its sockets, and the moment when another daemon takes over.
import type { Server } from 'node:http';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths } from '../../base/paths.ts';
import { InstanceLock, type InstanceLockOptions } from './instance-lock.ts';
import { KeptRuntimeDir } from './kept-runtime-dir.ts';
import { warnWhenShared } from './runtime-dir.ts';
import { listenOn } from './socket-activation.ts';

export interface InstanceOptions {
  readonly paths: BmuxdPaths;
  /** Descriptor of the control socket, if a service manager has passed one. */
  readonly controlFd: number | undefined;
  readonly log: Logger;
}

/** How a lost socket is logged, and what is told already. */
export interface Losses {
  readonly runtimeDir: Pick<KeptRuntimeDir, 'lossLevel' | 'problem'>;
}

export class Instance {
  /** Resolves when another daemon has taken the runtime dir. This one must exit and leave the sockets as they are. */
  readonly lost: Promise<void>;
  readonly runtimeDir: KeptRuntimeDir;
  readonly #options: InstanceOptions;
  #resolveLost: () => void = () => {};
  #lock: InstanceLock | undefined;

  constructor(options: InstanceOptions) {
    this.#options = options;
    this.runtimeDir = new KeptRuntimeDir({ ...options, clock: SYSTEM_CLOCK });
    this.lost = new Promise((resolve) => {
      this.#resolveLost = resolve;
    });
  }

  /**
   * Claims the runtime dir, from another daemon if `replace` says so, and makes `server` listen on its sockets. Rejects as
   * `InstanceLock.claim` does.
   */
  async claim(
    server: Server,
    { signal, replace }: Pick<InstanceLockOptions, 'signal' | 'replace'>,
  ): Promise<void> {
    const { paths, controlFd, log } = this.#options;
    this.#lock = await InstanceLock.claim({
      paths,
      runtimeDir: this.runtimeDir,
      server,
      activated: controlFd !== undefined,
      log,
      signal,
      replace,
      onLost: ({ data: { code, detail } }) => {
        log.warn({ code, detail }, 'another bmuxd has this folder now; leaving it to that one');
        this.#resolveLost();
      },
    });
    if (controlFd !== undefined) await listenOn(server, controlFd);
    warnWhenShared(paths.dir, log);
  }

  /** True while this daemon has the runtime dir. */
  async isOurs(): Promise<boolean> {
    return (await this.#lock?.isOurs()) ?? false;
  }

  /** False when a health request on our own instance socket gets no answer. */
  async isAnswering(): Promise<boolean> {
    return (await this.#lock?.isAnswering()) ?? true;
  }

  /** `bmuxd stop` sees that this daemon stops, although its sockets are gone, until `stopped`. */
  async stopping(): Promise<void> {
    await this.#lock?.stopping();
  }

  async stopped(): Promise<void> {
    await this.#lock?.stopped();
  }

  /** Removes the sockets, except those that another process has replaced. Safe to call twice. */
  async release(): Promise<void> {
    await this.#lock?.release();
  }
}
