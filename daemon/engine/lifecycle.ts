// The lifecycle of an engine: when it stops accepting, when its streams end, and when its process exits.
import type { BrokerEvent } from '../api/answers.ts';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { onSilence, settledWithin } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Settings } from '../config/settings/table.ts';
import type { TrustChange } from '../engine-protocol/messages.ts';
import { classOf } from '../errors/error-class.ts';
import type { EngineSockets } from './accept/engine-sockets.ts';
import type { ControlLink } from './control/control-link.ts';
import type { NetworkWatch } from './network-watch.ts';
import type { Streams } from './streams.ts';
import { liveWithoutPin } from './upstream/targets/live-without-pin.ts';
import type { Upstreams } from './upstream/upstreams.ts';

/** The longest time of a timer, 24.8 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** ms between two ends of late streams, at least: `engine.drain_max` may be 0. */
const MIN_LATE_MS = 1000;

export interface LifecycleOptions {
  readonly settings: () => Settings;
  readonly log: Logger;
  /** Is told when this engine takes no more streams. */
  readonly control: Pick<ControlLink, 'tell' | 'isThere'>;
  readonly streams: Pick<Streams, 'size' | 'live' | 'endAll'>;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly sockets: Pick<
    EngineSockets,
    'waiting' | 'hasAccepted' | 'hasTargetSockets' | 'closeAll' | 'refuseWaiting'
  >;
  readonly upstreams: Pick<Upstreams, 'retire' | 'trustChanged' | 'hurry' | 'close'>;
  readonly network: Pick<NetworkWatch, 'close'>;
  /** Closes the engine's own socket. */
  readonly closeApi: () => Promise<void>;
  /** Sends what is left of the log and the messages to control, then ends the process. */
  readonly exit: () => void;
}

/** Why the streams of a draining engine are ended, as their clients are told. */
export type DrainEnd =
  /** `engine.drain_max` is over. */
  | { readonly for: 'drain_max'; readonly ms: number }
  /** Too many engines drain. */
  | { readonly for: 'engines'; readonly count: number };

/**
 * serving -> draining (control is gone, or another engine takes over) -> closed. A draining engine keeps its live streams. After the
 * last one it waits `engine.drain_grace` and exits; while it still accepts on target sockets, it waits `engine.orphan_grace` instead.
 * Streams that are live `engine.drain_max` after another engine has taken over are ended; later ones after that time, or a second one, again.
 */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  #state: 'serving' | 'draining' = 'serving';
  #stopping = false;
  #leaving = false;
  #grace: () => void = () => undefined;
  /** When `engine.drain_max` begins, performance.now(); undefined while the engine serves. */
  #drainsFrom: number | undefined;
  #cancelDrainEnd: () => void = () => undefined;

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
    const { log, sockets, settings } = this.#options;
    log.info({ why }, 'engine drains');
    const graceMs = sockets.hasTargetSockets() ? settings()['engine.orphan_grace'] * 1000 : 0;
    this.#drainsFrom = performance.now() + graceMs;
    this.#limitDrain(settings()['engine.drain_max']);
    this.idle();
  }

  /** Ends the streams of a draining engine gracefully, and accepts no more. Does nothing while the engine serves. */
  endDrain(end: DrainEnd): void {
    if (this.#state !== 'draining' || this.#stopping) return;
    const { log, sockets, streams } = this.#options;
    log.warn({ end, streams: streams.size }, 'the streams of a draining engine are ended');
    sockets.closeAll();
    void streams.endAll(whoEnds(end));
    this.idle();
  }

  /**
   * Ends the spares when a pin of before does not count any more, and names the live streams that were opened by it. A new pin, and another
   * mode, take no trust from what is warm.
   */
  trustChanged(change: TrustChange): void {
    const { upstreams, streams, event } = this.#options;
    if (change.gateways.length === 0) return;
    upstreams.trustChanged();
    for (const { data } of liveWithoutPin(streams.live(), change))
      event({ type: 'trust changed', code: data.code, class: classOf(data), detail: data.detail });
  }

  /** Called after an unexpected error. Live streams go on until they end, and control starts another engine for new ones. */
  retire(error: unknown): void {
    const { log } = this.#options;
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ err: textOf(error), stack }, 'unexpected error in the engine');
    this.#retiring(textOf(error));
    this.drain('an unexpected error');
  }

  /** `takenOver`, as a control process says it that did not start this engine. It cannot know which daemons get ready to take over from it. */
  drainedByOther(max: Settings['engine.drain_max'] | undefined): void {
    const { sockets, control, log } = this.#options;
    if (sockets.hasAccepted || !control.isThere) this.takenOver(max);
    else log.info('another daemon tells this engine to drain; it goes on, since its own one gets ready');
  }

  /**
   * Another engine accepts on the sockets now: drains, and closes this engine's sockets after `LIMITS.takenOverMs`. `max`:
   * `engine.drain_max` of the control process that says so.
   */
  takenOver(max?: Settings['engine.drain_max']): void {
    const { settings, sockets, upstreams } = this.#options;
    this.drain('another engine takes over');
    this.#drainsFrom = Math.min(this.#drainsFrom ?? Infinity, performance.now());
    this.#limitDrain(max ?? settings()['engine.drain_max']);
    // A client may have resolved the path to this engine's socket just before it was replaced, and connect only now. An engine that did not
    // run for a while accepts first: those in the queue of a socket that is closed are cut.
    onSilence(LIMITS.takenOverMs, () => {
      sockets.closeAll();
      upstreams.retire();
      this.idle();
    });
  }

  /**
   * Ends every stream gracefully within `LIMITS.stopMs`, then exits. `who`: as clients are told, "it was ended by ..."; an earlier version of
   * control does not say it. A second call does nothing.
   */
  async stop(who = 'bmuxd stop'): Promise<void> {
    if (this.#stopping) return;
    const { sockets, streams, upstreams } = this.#options;
    this.#stopping = true;
    this.#state = 'draining';
    this.#retiring('it was told to end');
    sockets.closeAll();
    sockets.refuseWaiting();
    upstreams.hurry();
    await settledWithin(streams.endAll(who), LIMITS.stopMs);
    await this.#leave();
  }

  /** Called when the last stream has ended, or when another condition for the exit may have changed. Starts the grace period again. */
  idle(): void {
    const { sockets, settings } = this.#options;
    if (this.#state !== 'draining' || this.#isBusy()) return;
    this.#grace();
    const seconds = settings()[sockets.hasTargetSockets() ? 'engine.orphan_grace' : 'engine.drain_grace'];
    // The client of the last stream may still ask this engine whether its stream was lost.
    const ms = Math.max(seconds * 1000, LIMITS.endAskedMs);
    this.#grace = SYSTEM_CLOCK.after(ms, () => {
      if (!this.#isBusy()) void this.#leave();
    });
  }

  /** True while there are live streams, or requests without an answer. */
  #isBusy(): boolean {
    const { streams, sockets } = this.#options;
    return streams.size > 0 || sockets.waiting > 0;
  }

  #limitDrain(seconds: Settings['engine.drain_max']): void {
    this.#cancelDrainEnd();
    if (typeof seconds !== 'number' || this.#drainsFrom === undefined) return;
    const ms = seconds * 1000;
    const left = Math.min(Math.max(0, this.#drainsFrom + ms - performance.now()), MAX_TIMER_MS);
    this.#cancelDrainEnd = SYSTEM_CLOCK.after(left, () => {
      if (left === MAX_TIMER_MS) this.#limitDrain(seconds);
      else {
        this.endDrain({ for: 'drain_max', ms });
        this.#limitLate(ms);
      }
    });
  }

  /** A client that was accepted before may be heard only now. Its stream goes on for as long as those of before. */
  #limitLate(ms: number): void {
    this.#cancelDrainEnd = SYSTEM_CLOCK.after(Math.max(ms, MIN_LATE_MS), () => {
      if (this.#options.streams.size > 0) this.endDrain({ for: 'drain_max', ms });
      this.#limitLate(ms);
    });
  }

  #retiring(why: string): void {
    this.#options.control.tell({ type: 'retiring', why });
  }

  async #leave(): Promise<void> {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#grace();
    this.#cancelDrainEnd();
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

/** As in "it was ended by ...". */
function whoEnds(end: DrainEnd): string {
  if (end.for === 'engines') return `bmuxd: ${String(end.count)} newer engines drain, too`;
  return `engine.drain_max, ${String(end.ms / 1000)} s after its engine began to drain`;
}
