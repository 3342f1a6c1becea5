// Supervises the engines: one is current, others finish their streams. When the current one ends or hangs, a new one is started.
import { textOf, type Failure } from '../../base/failure.ts';
import { isEngineStatus } from '../../api/answer-shapes.ts';
import { LIMITS } from '../../base/limits.ts';
import { fail } from '../../errors/fail.ts';
import { isSilence } from '../../sockets/http-request.ts';
import { endedFailure, lateFailure, unstartable } from './start/failure.ts';
import { NextStart } from './start/next-start.ts';
import { EngineHealth } from './engine-health.ts';
import { EngineLink, type EngineProcess } from './engine-link.ts';
import { endHanging } from './others/hanging.ts';
import type { EngineSupervisorOptions } from './supervisor-options.ts';

interface Engine {
  readonly link: EngineLink;
  /** Time of the start by the clock of the supervisor, ms. */
  readonly startedAt: number;
  readonly health: EngineHealth;
  /** Cancels the time limit for the start. */
  readonly started: () => void;
  /** ms after which it was given up, because it was not ready. */
  lateMs: number | undefined;
}

/** The states of an engine: starting -> ready (current) -> retired (finishes its streams and gets no more) -> gone. */
export class EngineSupervisor {
  readonly #options: EngineSupervisorOptions;
  #current: Engine | undefined;
  /** All engines that this control has started and that have not ended, including retired ones. */
  readonly #living = new Set<Engine>();
  readonly #next: NextStart;
  #starts = 0;
  #cancelLooks: () => void = () => undefined;
  /** Cancels the check that follows one without an answer. */
  #cancelSecondLook: () => void = () => undefined;
  #isLooking = false;
  #closing = false;

  constructor(options: EngineSupervisorOptions) {
    this.#options = options;
    this.#next = new NextStart({
      ...options,
      startEngine: () => {
        this.#startEngine();
      },
    });
  }

  /** True when an engine accepts streams. */
  get ready(): boolean {
    return this.#current?.link.ready === true;
  }

  /** The engine that accepts streams; undefined while there is none. */
  get current(): EngineLink | undefined {
    return this.ready ? this.#current?.link : undefined;
  }

  /** Engines whose process was started. */
  get starts(): number {
    return this.#starts;
  }

  /** Why no engine is ready; undefined when one is, and while the first one is starting. */
  get problem(): Failure | undefined {
    return this.ready ? undefined : this.#next.problem;
  }

  /** Set while engines end soon after their start, again and again. The one that is ready now may end, too. */
  get crashes(): Failure | undefined {
    return this.#next.crashes(this.ready ? this.#ageMs(this.#current) : undefined);
  }

  /** Whether an engine that is starting gets more time, since it gets no CPU. */
  get isSlow(): boolean {
    return !this.ready && this.#next.isSlow;
  }

  /** Starts the first engine, and the regular check. */
  start(): void {
    if (this.#closing) return;
    this.#startEngine();
    this.#cancelLooks = this.#options.clock.every(LIMITS.heartbeatMs, () => {
      if (this.#current?.health.isDue(this.#options.clock.now()) === true) void this.look();
    });
  }

  /** Tells every engine of this control to end its streams gracefully and exit. Their sockets are not needed for that. `who`: see `Lifecycle`. */
  stop(who: string): void {
    for (const { link } of this.#living) link.tell({ type: 'stop', who });
  }

  /** Stops starting and checking engines. Those that live are left alone. */
  halt(): void {
    this.#closing = true;
    this.#cancelLooks();
    this.#cancelSecondLook();
    this.#next.close();
    this.#options.early.kill();
  }

  /** Closes the channels of all engines: they drain, and exit after their last stream. */
  close(): void {
    this.halt();
    this.#current = undefined;
    for (const { link, started } of this.#living) {
      started();
      // It holds no stream. Node may hang before any code of the engine runs, and nothing else would end it then.
      if (!link.wasReady) link.kill();
      link.release();
    }
  }

  /** Generations of the engines of this control whose processes have not ended. */
  get living(): string[] {
    return [...this.#living].map(({ link }) => link.generation);
  }

  /** The process of an engine of this control that has not ended; undefined when there is none. */
  pidOf(generation: string): number | undefined {
    return [...this.#living].find(({ link }) => link.generation === generation)?.link.pid;
  }

  /** Kills the engines that are not ready. They hold no stream, and cannot handle a `stop` message yet. */
  killStarting(): void {
    for (const { link } of this.#living) if (!link.ready) link.kill();
  }

  /** Kills living engines of this control: all, or those whose generation is in `only`. Returns their generations. */
  kill(only?: readonly string[]): string[] {
    const doomed = [...this.#living].filter(({ link }) => only?.includes(link.generation) ?? true);
    for (const { link } of doomed) link.kill();
    return doomed.map(({ link }) => link.generation);
  }

  /** Checks that the current engine answers, and replaces it after too many checks without an answer. Never rejects. */
  async look(): Promise<void> {
    const engine = this.#current;
    const { ask, log, runtimeDir } = this.#options;
    if (engine?.link.ready !== true || this.#isLooking) return;
    const [{ generation }, isAtWork] = [engine.link, engine.link.watchWork(engine.health.isDoubtful)];
    this.#isLooking = true;
    try {
      const status = await ask(generation);
      engine.health.answered(this.#options.clock.now());
      this.#alive(engine, status);
    } catch (error) {
      if (!isSilence(error) && runtimeDir.isAway) return;
      const { isLost, ...counts } = engine.health.failed(error, isAtWork());
      const level = isSilence(error) ? 'warn' : runtimeDir.lossLevel;
      log[level]({ generation, ...counts, why: textOf(error) }, 'engine does not answer');
      if (isLost) this.#retire(engine, 'it does not answer');
      else if (isSilence(error)) this.#lookAgain();
    } finally {
      this.#isLooking = false;
    }
  }

  /** The engine works: its status has come. */
  #alive(engine: Engine, status: unknown): void {
    const wasHanging = engine.health.isHanging;
    engine.health.heard(this.#options.clock.now(), status);
    // What has made it hang may be over.
    if (wasHanging && this.#current === undefined) this.#next.now();
    if (this.#current !== engine) return;
    this.#options.onStatus(engine.link.generation, status);
    if (isEngineStatus(status) && status.engine.state === 'draining') void this.#drained(engine);
  }

  /** Another daemon has told it to drain: by mistake, unless that one has taken over. Never rejects. */
  async #drained(engine: Engine): Promise<void> {
    if (!this.#closing && (await this.#options.isOurs()))
      this.#retire(engine, 'another daemon has told it to drain');
  }

  /** Not at the next regular time: what hangs is to be replaced within 5 s. */
  #lookAgain(): void {
    this.#cancelSecondLook();
    if (this.#closing) return;
    this.#cancelSecondLook = this.#options.clock.after(LIMITS.secondLookMs, () => {
      void this.look();
    });
  }

  #startEngine(): void {
    const [{ clock, early, fork, log, onReady, handlers }, start] = [this.#options, this.#options.start()];
    const { generation } = start;
    let process: EngineProcess;
    try {
      process = early.take() ?? fork();
    } catch (error) {
      const why = textOf(error);
      const problem = unstartable(why, error);
      log.error({ generation, code: problem.code, why }, 'the engine process cannot be started');
      this.#restartLater(undefined, problem, why);
      return;
    }
    const link: EngineLink = new EngineLink(process, start, {
      ...handlers,
      onReady: () => {
        engine.started();
        const ms = clock.now() - engine.startedAt;
        log.info({ generation, ms }, 'engine is ready');
        if (this.#current === engine) onReady(link);
      },
      onAlive: (status) => {
        this.#alive(engine, engine.health.told(status));
      },
      onRetiring: (why) => {
        this.#retire(engine, why);
      },
      onGone: (why) => {
        this.#gone(engine, why);
      },
      onProcessError: (error) => {
        log.warn({ generation, err: textOf(error) }, 'engine process');
      },
    });
    const engine: Engine = {
      link,
      startedAt: clock.now(),
      health: new EngineHealth(clock.now()),
      started: this.#next.watch(process.pid, (ms) => {
        log.error({ generation, ms }, 'the engine did not become ready in time');
        engine.lateMs = ms;
        link.kill();
      }),
      lateMs: undefined,
    };
    this.#starts += 1;
    this.#current = engine;
    this.#living.add(engine);
    log.info({ generation, pid: process.pid }, 'engine starts');
  }

  /** Replaces the current engine. It gets no more streams and finishes those that it has, while another one is started. */
  #retire(engine: Engine, why: string): void {
    if (this.#current !== engine) return;
    const [{ log, onLeave }, { link }] = [this.#options, engine];
    log[this.#closing ? 'info' : 'warn']({ generation: link.generation, why }, 'engine is retired');
    onLeave(link, why);
    engine.started();
    this.#current = undefined;
    // Sent over the channel, since the engine's socket may be the problem. An engine that hangs reads it when it goes on.
    link.tell({ type: 'drain' });
    endHanging(this.#living, log);
    this.#restartLater(engine, fail('engine_unavailable', { why }), why);
  }

  #gone(engine: Engine, why: string): void {
    if (!this.#living.delete(engine)) return;
    engine.started();
    const { log, stderr, onLeave, onFailedStart } = this.#options;
    const [{ generation, pid }, { lateMs }] = [engine.link, engine];
    const wasCurrent = this.#current === engine;
    const captured = wasCurrent ? stderr() : '';
    const said = { generation, pid, why, ...(captured !== '' && { stderr: captured }) };
    log[this.#closing ? 'info' : 'warn'](said, 'engine is gone');
    onLeave(engine.link, why);
    if (!wasCurrent) return;
    this.#current = undefined;
    if (!engine.link.wasReady && captured !== '') onFailedStart(captured);
    if (lateMs !== undefined) this.#restartLater(engine, lateFailure(lateMs), 'it was not ready in time');
    else this.#restartLater(engine, pid === undefined ? unstartable(why) : endedFailure(why, captured), why);
  }

  /** Plans the next start. `last`: the engine that has ended or hangs; undefined when its process could not be started. */
  #restartLater(last: Engine | undefined, problem: Failure, why: string): void {
    const [wasReady, isHanging] = [last?.link.wasReady === true, last?.health.isHanging === true];
    this.#next.after({ wasReady, isHanging, livedMs: this.#ageMs(last) }, problem, why);
  }

  /** ms since the start of an engine. The clock may have been set back since. */
  #ageMs(engine: Engine | undefined): number | undefined {
    return engine === undefined ? undefined : Math.abs(this.#options.clock.now() - engine.startedAt);
  }
}
