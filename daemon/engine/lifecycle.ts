// When an engine takes no more, when its streams end, and when its process leaves.
import { settledWithin } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Settings } from '../config/settings/table.ts';

export interface LifecycleOptions {
  readonly settings: () => Settings;
  readonly log: Logger;
  /** Tells control that this engine takes no more streams. */
  readonly retiring: (why: string) => void;
  /** Live streams, and requests that have no answer yet. */
  readonly busy: () => boolean;
  /** Ends all streams gracefully; resolves when the last one is over. */
  readonly endStreams: (who: string) => Promise<void>;
  /** Sockets on which it accepts. */
  readonly sockets: { readonly hasTargetSockets: () => boolean; closeAll(): void; refuseWaiting(): void };
  /** What is warm: `retire` gives up what nobody will ask for; `close` ends it and resolves when all has ended. */
  readonly warm: { retire(): void; close(): Promise<void> };
  /** Closes the engine's own socket. */
  readonly closeApi: () => Promise<void>;
  /** Ends the process, after what was logged and told has left it. */
  readonly exit: () => void;
}

/**
 * serving -> draining (control is gone, or another engine takes over) -> closed. While it drains, its streams go on; after the last one
 * it waits `engine.drain_grace`, or `engine.orphan_grace` where it still accepts on target sockets.
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

  drain(why: string): void {
    if (this.#state === 'draining') return;
    this.#state = 'draining';
    this.#options.log.info({ why }, 'engine drains');
    this.idle();
  }

  /** Something unexpected was thrown: the streams are finished, and another engine takes the next ones. */
  retire(error: unknown): void {
    const { log, retiring } = this.#options;
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ err: textOf(error), stack }, 'unexpected error in the engine');
    retiring(textOf(error));
    this.drain('an unexpected error');
  }

  /** Another engine accepts on the sockets from now on. */
  takenOver(): void {
    const { sockets, warm } = this.#options;
    this.drain('another engine takes over');
    // A client that has just looked the path up may still be about to connect.
    setTimeout(() => {
      sockets.closeAll();
      warm.retire();
      this.idle();
    }, LIMITS.takenOverMs);
  }

  /** Ends every stream gracefully, bounded, and leaves. Safe to call twice. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    const { sockets, endStreams, retiring } = this.#options;
    this.#stopping = true;
    this.#state = 'draining';
    retiring('it was told to end');
    sockets.closeAll();
    sockets.refuseWaiting();
    await settledWithin(endStreams('bmuxd stop'), LIMITS.stopMs);
    await this.#leave();
  }

  /** The last stream has ended, or something else has changed that may let it leave. */
  idle(): void {
    const { busy, sockets, settings } = this.#options;
    if (this.#state !== 'draining' || busy()) return;
    clearTimeout(this.#grace);
    const seconds = settings()[sockets.hasTargetSockets() ? 'engine.orphan_grace' : 'engine.drain_grace'];
    // The client of the last stream may still ask how that ended.
    const ms = Math.max(seconds * 1000, LIMITS.endAskedMs);
    this.#grace = setTimeout(() => {
      if (!busy()) void this.#leave();
    }, ms);
  }

  async #leave(): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    clearTimeout(this.#grace);
    const { log, sockets, warm, closeApi, exit } = this.#options;
    sockets.closeAll();
    await settledWithin(warm.close(), LIMITS.stopMs);
    // Last, since whoever waits for this engine looks for its socket.
    await closeApi().catch((error: unknown) => {
      log.warn({ err: textOf(error) }, 'closing the engine socket');
    });
    log.info('engine leaves');
    exit();
  }
}
