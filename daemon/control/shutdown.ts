// Two ways to end: control exits and the engines finish their streams, or control and all engines stop. Each step has a time limit.
import type { Server } from 'node:http';
import type { Logger } from '../base/log.ts';
import type { Failure } from '../base/failure.ts';
import { asFailure, fail } from '../errors/fail.ts';
import type { OpenRequests } from './http/open-requests.ts';
import { LIMITS } from '../base/limits.ts';
import { sleep } from '../base/async/sleep.ts';
import type { Settings } from '../config/settings/table.ts';
import type { Engines } from './engines/engines.ts';
import type { RequestPlanner } from './planning/request-planner.ts';
import type { ServiceManager } from './service/service-manager.ts';
import type { Instance } from './instance/instance.ts';
import type { TargetSocketReconciler } from './target-sockets/reconciler.ts';

/** ms between two checks whether all engines have exited. */
const LOOK_MS = 20;
/** ms between two checks whether a stream is still live. */
const DRAIN_LOOK_MS = 100;

export interface ShutdownOptions {
  readonly log: Logger;
  /** The end of this process ends its engines. */
  readonly takesEnginesAlong: boolean;
  readonly manager: Pick<ServiceManager, 'stopping' | 'isEnding'>;
  readonly server: Pick<Server, 'closeAllConnections'>;
  readonly requests: Pick<OpenRequests, 'acceptNoMore' | 'answered'>;
  /** What has clients without an end: they are told of all streams that are ended. */
  readonly followed: { close(): void };
  /** Closed before everything in `refuse`. */
  readonly planner: Pick<RequestPlanner, 'close'>;
  /** Whatever takes requests for streams and target sockets. Closed in this order, perhaps twice. Waiting and new ones are refused then. */
  readonly refuse: readonly { close(): void }[];
  /** What else takes requests. Closed after `refuse`, perhaps twice. */
  readonly alsoRefuse: readonly { close(): void }[];
  readonly instance: Pick<Instance, 'stopping' | 'stopped' | 'release'>;
  readonly engines: Pick<Engines, 'accepting'> & {
    readonly supervisor: Pick<
      Engines['supervisor'],
      'halt' | 'killStarting' | 'stop' | 'kill' | 'close' | 'living'
    >;
    readonly directory: Pick<Engines['directory'], 'survey' | 'stopAll' | 'empty'>;
    readonly streamsSocket: Pick<Engines['streamsSocket'], 'leave' | 'close'>;
  };
  readonly targetSockets: Pick<TargetSocketReconciler, 'removeAll' | 'clear' | 'leave' | 'hasSockets'>;
  /** Watchers of files. */
  readonly watchers: readonly { close(): Promise<void> }[];
}

/** Who ends the streams, as their clients are told: "it was ended by ...". */
const WHO = {
  person: () => 'bmuxd stop',
  late: (drainMs: number) => `bmuxd stop --drain, ${String(drainMs / 1000)} s later`,
  signal: (signal: NodeJS.Signals) => `bmuxd, which got ${signal}`,
  manager: () => 'bmuxd, since its service manager ends, as at a logout',
  other: () => 'bmuxd, since another one has taken over and its engines end with it',
} as const;

export class Shutdown {
  /** Resolves when `stop` was called and everything has ended, and after `leave`. */
  readonly stopped: Promise<void>;
  readonly #options: ShutdownOptions;
  #resolveStopped: () => void = () => {};
  #closing: Promise<void> | undefined;
  /** Control has been ready, and exits. */
  #isLeaving = false;
  #stopping: Promise<void> | undefined;
  /** How long the live streams may go on before the stop; `until` by performance.now(). */
  #drain: { readonly ms: number; readonly until: number } | undefined;

  constructor(options: ShutdownOptions) {
    this.#options = options;
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
  }

  /** Ends what the setting `on_term` says. Safe to call twice. */
  async onTerm(setting: Settings['on_term'], signal: NodeJS.Signals): Promise<void> {
    const { takesEnginesAlong, manager } = this.#options;
    if (setting === 'stop' || (setting === 'auto' && takesEnginesAlong))
      await this.stop(WHO.signal(signal), LIMITS.termMs);
    else if (setting === 'auto' && (await manager.isEnding())) await this.stop(WHO.manager(), LIMITS.termMs);
    else await this.close();
  }

  /** `lost`: another daemon has taken over. Where the end of this process kills its engines, their streams end gracefully first. */
  async after(lost: Promise<void>): Promise<void> {
    await lost;
    const { log, takesEnginesAlong } = this.#options;
    if (!takesEnginesAlong) return;
    log.info('the streams are ended, since the engines of this daemon end with it');
    await this.#endOwnEngines(WHO.other(), LIMITS.termMs);
  }

  /** Ends control only; live streams continue in the engines. Safe to call twice. */
  async close(): Promise<void> {
    const what = this.#isStopping ? 'bmuxd exits' : 'bmuxd exits; live streams continue';
    if (this.#closing === undefined) this.#options.log.info(what);
    this.#isLeaving = true;
    this.#closing ??= this.#leave();
    await this.#closing;
  }

  /** Ends control, which nobody has asked for that. Never rejects. */
  async leave(): Promise<void> {
    await this.close().catch((error: unknown) => {
      this.#options.log.error({ err: asFailure(error).data }, 'leaving failed');
    });
    this.#resolveStopped();
  }

  /** Removes what a failed start has made, and logs nothing. Safe to call twice. */
  abandon(): Promise<void> {
    this.#closing ??= this.#undo();
    return this.#closing;
  }

  /** Takes no more streams, and stops after the last one, at the latest after `drainMs`. A call of `stop` stops at once. Never rejects. */
  async drain(drainMs: number): Promise<void> {
    const isFirst = this.#drain === undefined;
    this.#drain = { ms: drainMs, until: performance.now() + drainMs };
    if (this.#stopping !== undefined || !isFirst) return;
    const { log, targetSockets, engines } = this.#options;
    log.info({ drainMs }, 'bmuxd takes no more streams, and stops after the last one');
    this.#refuse();
    await targetSockets.removeAll();
    const live = async (): Promise<boolean> =>
      (await engines.directory.survey()).engines.some(({ streams }) => streams > 0);
    let isLive = await live();
    while (isLive && performance.now() < this.#drain.until && !this.#isStopping) {
      await sleep(DRAIN_LOOK_MS);
      isLive = await live();
    }
    await this.stop(isLive ? WHO.late(this.#drain.ms) : undefined);
  }

  /** What the status says while the daemon drains. */
  get problem(): Failure | undefined {
    if (this.#drain === undefined || this.#isStopping) return undefined;
    const left = Math.max(0, this.#drain.until - performance.now());
    return fail('draining', { seconds: Math.ceil(left / 1000) });
  }

  get #isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Ends every stream of every engine gracefully within `ms`, and then control. Never rejects. Safe to call twice. */
  stop(who: string = WHO.person(), ms: number = LIMITS.stopMs + LIMITS.engineAnswerMs): Promise<void> {
    this.#stopping ??= this.#stopAll(who, ms)
      .catch((error: unknown) => {
        this.#options.log.error({ err: asFailure(error).data }, 'stopping failed');
      })
      .then(() => this.#options.instance.stopped())
      .finally(() => {
        this.#resolveStopped();
      });
    return this.#stopping;
  }

  /** An engine that is ready has served nobody. Its socket would make clients wait for a daemon that comes back, until its grace is over. */
  async #undo(): Promise<void> {
    await this.#endOwnEngines(WHO.person(), LIMITS.engineAnswerMs);
    await this.#leave();
  }

  /** Resolves when the engines of this daemon have ended their streams and themselves, at the latest after `ms`. */
  async #endOwnEngines(who: string, ms: number): Promise<void> {
    const { supervisor } = this.#options.engines;
    supervisor.halt();
    supervisor.killStarting();
    supervisor.stop(who);
    const until = performance.now() + ms;
    while (supervisor.living.length > 0 && performance.now() < until) await sleep(LOOK_MS);
  }

  async #leave(): Promise<void> {
    const { manager, targetSockets, engines, server, watchers, requests, followed } = this.#options;
    manager.stopping();
    // Clients in the queue of a target socket whose engine has died are cut with control's handle, unless the next engine accepts them before.
    if (!this.#isStopping && targetSockets.hasSockets) await engines.accepting(LIMITS.nextEngineMs);
    followed.close();
    await this.#closeSockets();
    await requests.acceptNoMore();
    await requests.answered(LIMITS.leaveMs);
    await this.#takeNoMore();
    targetSockets.leave();
    engines.supervisor.close();
    server.closeAllConnections();
    await Promise.all(watchers.map((watcher) => watcher.close()));
  }

  async #stopAll(who: string, ms: number): Promise<void> {
    const { log, manager, targetSockets, engines, instance } = this.#options;
    const { supervisor, directory } = engines;
    manager.stopping();
    await instance.stopping();
    log.info({ who }, 'bmuxd stops and ends all streams');
    supervisor.halt();
    supervisor.killStarting();
    await this.#takeNoMore();
    await targetSockets.removeAll();
    // An engine that does not answer will not end its streams. If this control started it, it is killed; any other is only logged.
    const silent = await directory.stopAll(who);
    // `stopAll` misses an engine whose socket file is missing at the moment. Engines of this control are also told on their channels.
    supervisor.stop(who);
    if (silent.length > 0) log.warn({ engines: silent }, 'engines that do not answer are not waited for');
    supervisor.kill(silent);
    await this.#allGone(ms, silent);
    const late = supervisor.kill();
    if (late.length > 0) {
      log.warn({ engines: late }, 'engines that did not end in time were killed');
      await this.#allGone(LIMITS.engineAnswerMs, []);
    }
    await targetSockets.clear();
    await this.close();
  }

  /** Removes the sockets, or leaves them to the engine, and refuses waiting requests. Their clients come to the next daemon. */
  async #takeNoMore(): Promise<void> {
    this.#refuse();
    for (const taker of this.#options.alsoRefuse) taker.close();
    await this.#closeSockets();
  }

  #refuse(): void {
    const { planner, refuse } = this.#options;
    // A client tries `stopping` again, because a daemon that restarts says it, too.
    planner.close(() => this.problem ?? fail('stopping'));
    for (const taker of refuse) taker.close();
  }

  async #closeSockets(): Promise<void> {
    const { log, engines, instance } = this.#options;
    try {
      const isOver = !this.#isLeaving || this.#isStopping || this.#drain !== undefined;
      if (isOver) await engines.streamsSocket.close();
      else await engines.streamsSocket.leave();
      await instance.release();
    } catch (error) {
      log.warn({ err: asFailure(error).data }, 'removing the control socket failed');
    }
  }

  /** Waits until all engines have exited. Both are checked, because an engine removes its socket before its process exits. */
  async #allGone(ms: number, except: readonly string[]): Promise<void> {
    const { supervisor, directory } = this.#options.engines;
    const until = performance.now() + ms;
    const gone = async (): Promise<boolean> =>
      (await directory.empty(except)) && supervisor.living.every((generation) => except.includes(generation));
    while (!(await gone()) && performance.now() < until) await sleep(LOOK_MS);
  }
}
