// How control leaves (engines finish their streams) and how everything stops. The reverse of the start, each step bounded.
import type { Server } from 'node:http';
import type { Logger } from '../base/log.ts';
import { asFailure } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { sleep } from '../base/async/sleep.ts';

/** ms between two looks whether all engines have gone. */
const LOOK_MS = 20;

export interface ShutdownOptions {
  readonly log: Logger;
  readonly server: Server;
  /** What takes requests: closed in this order, perhaps twice, it refuses what waits and what comes. */
  readonly refuse: readonly { close(): void }[];
  /** Removes the control socket, if it is ours. */
  readonly unbind: () => Promise<void>;
  readonly targetSockets: {
    /** Keeps the paths: the engine goes on accepting there. */
    leave(): void;
    /** Takes every target socket away. */
    close(): Promise<void>;
  };
  /** Takes away what engines have left that are gone. */
  readonly clearTargetSockets: () => Promise<void>;
  readonly engines: {
    readonly living: readonly string[];
    halt(): void;
    killStarting(): void;
    stop(): void;
    close(): void;
    kill(only?: readonly string[]): string[];
  };
  readonly directory: { stopAll(): Promise<string[]>; empty(except: readonly string[]): Promise<boolean> };
  /** What watches files. */
  readonly watchers: readonly { close(): Promise<void> }[];
}

export class Shutdown {
  /** Resolves when `stop` was called and everything has ended. */
  readonly stopped: Promise<void>;
  readonly #options: ShutdownOptions;
  #resolveStopped: () => void = () => {};
  #closing: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: ShutdownOptions) {
    this.#options = options;
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
  }

  /** Leaves: live streams go on. Calling twice is safe. */
  close(): Promise<void> {
    if (this.#closing === undefined) this.#options.log.info('bmuxd leaves; live streams go on');
    return this.abandon();
  }

  /** The start has failed: removes what it has made, without a word. Calling twice is safe. */
  abandon(): Promise<void> {
    this.#closing ??= this.#leave();
    return this.#closing;
  }

  /** Ends every stream of every engine, gracefully and bounded, and then leaves. Never rejects; calling twice is safe. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll()
      .catch((error: unknown) => {
        this.#options.log.error({ err: asFailure(error).data }, 'stopping');
      })
      .finally(() => {
        this.#resolveStopped();
      });
    return this.#stopping;
  }

  async #leave(): Promise<void> {
    const { targetSockets, engines, server, watchers } = this.#options;
    await this.#takeNoMore();
    targetSockets.leave();
    engines.close();
    // Never wait for `server.close()`: it does not end while a passed socket lives.
    server.close();
    server.closeAllConnections();
    await Promise.all(watchers.map((watcher) => watcher.close()));
  }

  async #stopAll(): Promise<void> {
    const { log, targetSockets, engines, directory } = this.#options;
    log.info('bmuxd stops: every stream is ended');
    engines.halt();
    engines.killStarting();
    await this.#takeNoMore();
    await targetSockets.close();
    // One that does not even answer will not end its streams: those of ours are killed, others are left (and named) as they are.
    const silent = await directory.stopAll();
    // And those of ours whose socket is not at its path just now.
    engines.stop();
    if (silent.length > 0) log.warn({ generations: silent }, 'engines that do not answer are not waited for');
    engines.kill(silent);
    await this.#allGone(LIMITS.stopMs + LIMITS.engineAnswerMs, silent);
    const late = engines.kill();
    if (late.length > 0) {
      log.warn({ generations: late }, 'engines that did not end in time were killed');
      await this.#allGone(LIMITS.engineAnswerMs, []);
    }
    await this.#options.clearTargetSockets();
    await this.close();
  }

  /** No more requests: the socket is gone, what waits is refused (clients look for the next daemon). */
  async #takeNoMore(): Promise<void> {
    for (const taker of this.#options.refuse) taker.close();
    await this.#options.unbind().catch((error: unknown) => {
      this.#options.log.warn({ err: asFailure(error).data }, 'removing the control socket');
    });
  }

  /** Of an engine the socket goes first, then the process. */
  async #allGone(ms: number, except: readonly string[]): Promise<void> {
    const { directory, engines } = this.#options;
    const until = performance.now() + ms;
    const gone = async (): Promise<boolean> =>
      (await directory.empty(except)) && engines.living.every((generation) => except.includes(generation));
    while (!(await gone()) && performance.now() < until) await sleep(LOOK_MS);
  }
}
