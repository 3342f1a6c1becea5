// The lifecycle of an engine: when it stops accepting, when its streams end, and when its process exits.
import { settledWithin } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Settings } from '../config/settings/table.ts';
import type { EngineSockets } from './accept/engine-sockets.ts';
import type { ControlLink } from './control-link.ts';
import type { NetworkWatch } from './network-watch.ts';
import type { Streams } from './streams.ts';
import type { Upstreams } from './upstream/upstreams.ts';

export interface LifecycleOptions {
  readonly settings: () => Settings;
  readonly log: Logger;
  /** Is told when this engine takes no more streams. */
  readonly control: Pick<ControlLink, 'tell'>;
  readonly streams: Pick<Streams, 'size' | 'endAll'>;
  readonly sockets: Pick<EngineSockets, 'waiting' | 'hasTargetSockets' | 'closeAll' | 'refuseWaiting'>;
  readonly upstreams: Pick<Upstreams, 'retire' | 'hurry' | 'close'>;
  readonly network: Pick<NetworkWatch, 'close'>;
  /** Closes the engine's own socket. */
  readonly closeApi: () => Promise<void>;
  /** Sends what is left of the log and the messages to control, then ends the process. */
  readonly exit: () => void;
}

/**
 * serving -> draining (control is gone, or another engine takes over) -> closed. A draining engine keeps its live streams. After the
 * last one it waits `engine.drain_grace` and exits; while it still accepts on target sockets, it waits `engine.orphan_grace` instead.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  #state: 'serving' | 'draining' = 'serving';
  #stopping = false;
  #leaving = false;
  #grace: NodeJS.Timeout | undefined;

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  get state(): 'serving' | 'draining' {
    return this.#state;
  }

  /** True when the engine was told to end, and not only to make way for another one. */
  get isStopping(): boolean {
    return this.#stopping;
  }

  drain(why: string): void {
    if (this.#state === 'draining') return;
    this.#state = 'draining';
    this.#options.log.info({ why }, 'engine drains');
    this.idle();
  }

  /** Called after an unexpected error. Live streams go on until they end, and control starts another engine for new ones. */
  retire(error: unknown): void {
    const { log } = this.#options;
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ err: textOf(error), stack }, 'unexpected error in the engine');
    this.#retiring(textOf(error));
    this.drain('an unexpected error');
  }

  /** Another engine accepts on the sockets now: drains, and closes this engine's sockets after `LIMITS.takenOverMs`. */
  takenOver(): void {
    const { sockets, upstreams } = this.#options;
    this.drain('another engine takes over');
    // A client may have resolved the path to this engine's socket just before it was replaced, and connect only now.
    setTimeout(() => {
      sockets.closeAll();
      upstreams.retire();
      this.idle();
    }, LIMITS.takenOverMs);
  }

  /** Ends every stream gracefully within `LIMITS.stopMs`, then exits. A second call does nothing. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    const { sockets, streams, upstreams } = this.#options;
    this.#stopping = true;
    this.#state = 'draining';
    this.#retiring('it was told to end');
    sockets.closeAll();
    sockets.refuseWaiting();
    upstreams.hurry();
    await settledWithin(streams.endAll('bmuxd stop'), LIMITS.stopMs);
    await this.#leave();
  }

  /** Called when the last stream has ended, or when another condition for the exit may have changed. Starts the grace period again. */
  idle(): void {
    const { sockets, settings } = this.#options;
    if (this.#state !== 'draining' || this.#isBusy()) return;
    clearTimeout(this.#grace);
    const seconds = settings()[sockets.hasTargetSockets() ? 'engine.orphan_grace' : 'engine.drain_grace'];
    // The client of the last stream may still ask this engine whether its stream was lost.
    const ms = Math.max(seconds * 1000, LIMITS.endAskedMs);
    this.#grace = setTimeout(() => {
      if (!this.#isBusy()) void this.#leave();
    }, ms);
  }

  /** True while there are live streams, or requests without an answer. */
  #isBusy(): boolean {
    const { streams, sockets } = this.#options;
    return streams.size > 0 || sockets.waiting > 0;
  }

  #retiring(why: string): void {
    this.#options.control.tell({ type: 'retiring', why });
  }

  async #leave(): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    clearTimeout(this.#grace);
    const { log, sockets, network, upstreams, closeApi, exit } = this.#options;
    sockets.closeAll();
    network.close();
    await settledWithin(upstreams.close(), LIMITS.stopMs);
    // The socket is closed last: a process that waits for the end of this engine waits until its socket is gone.
    await closeApi().catch((error: unknown) => {
      log.warn({ err: textOf(error) }, 'closing the engine socket');
    });
    log.info('engine leaves');
    exit();
  }
}
