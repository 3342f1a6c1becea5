// The supervisor of engines: one current engine, others that finish their streams, a new one when the current one ends or hangs.
import type { Clock } from '../../base/async/clock.ts';
import { onSilence } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Logger } from '../../base/log.ts';
import type { EngineStart } from '../../engine-protocol/messages.ts';
import { fail } from '../../errors/fail.ts';
import type { Failure } from '../../base/failure.ts';
import { isSilence } from '../../sockets/http-request.ts';
import { EngineLink, type EngineHandlers, type EngineProcess } from './engine-link.ts';

export interface EngineSupervisorOptions {
  readonly clock: Clock;
  /** Starts a process. Throws what the system says when it cannot (E2BIG, EAGAIN, ENOMEM, a Node that is not there any more). */
  readonly fork: () => EngineProcess;
  /** What the last process wrote to stderr before it ended; empty when nothing. */
  readonly stderr: () => string;
  readonly start: (generation: string) => EngineStart;
  /** Asks an engine for its status over its own socket. Rejects as `engineRequest` does. */
  readonly ask: (generation: string) => Promise<unknown>;
  readonly log: Logger;
  readonly handlers: Pick<EngineHandlers, 'onEvent' | 'onLog' | 'resolve' | 'resolveAgain'>;
  /** An engine takes streams from now on; it is the current one. */
  readonly onReady: (engine: EngineLink) => void;
  /** The engine gets nothing more: it has ended, or another one takes over. */
  readonly onLeave: (engine: EngineLink, why: string) => void;
  /** What the current engine says of itself at each look. */
  readonly onStatus: (generation: string, status: unknown) => void;
}

interface Engine {
  readonly link: EngineLink;
  /** As the clock said at its start, ms. */
  readonly startedAt: number;
  /** Looks that got no answer, since the last one that did. */
  missed: number;
  /** The same for looks that did not even find its socket. */
  unfound: number;
  /** Ends the wait for its start. */
  readonly started: () => void;
}

/** Looks without an answer after which another engine takes over: one may be lost to a busy machine. */
const MISSES = 2;
/** The same when its socket has vanished: the engine binds it again, and only one that hangs leaves it so. */
const MISSES_UNFOUND = 5;
/** ms before a further start when engines end soon; the first restart is immediate, and one that has served is replaced within a second. */
const BACKOFF_MS = [0, 200, 500, 900] as const;
/** The same when they do not even become ready: what keeps them from it needs a person, and each try costs a whole process. */
const FAILING_BACKOFF_MS = [...BACKOFF_MS, 2000, 5000, 15_000, 30_000] as const;
/** ms after which an engine did not end because of its start. */
const HEALTHY_MS = 10_000;

/** One engine: starting -> ready (current) -> retired (lives, gets nothing more) -> gone. */
export class EngineSupervisor {
  readonly #options: EngineSupervisorOptions;
  #current: Engine | undefined;
  /** Every engine that this control started and that lives, retired ones included. */
  readonly #living = new Set<Engine>();
  #failures = 0;
  #cancelRestart: () => void = () => undefined;
  #cancelLooks: () => void = () => undefined;
  #closing = false;
  /** Why there is no ready engine, for the status. */
  #problem: Failure = fail('engine_unavailable', { why: 'it is starting' });

  constructor(options: EngineSupervisorOptions) {
    this.#options = options;
  }

  /** True when an engine takes streams. */
  get ready(): boolean {
    return this.#current?.link.ready === true;
  }

  /** The engine that takes streams; undefined while there is none. */
  get current(): EngineLink | undefined {
    return this.ready ? this.#current?.link : undefined;
  }

  /** Why no engine is ready; undefined when one is. */
  get problem(): Failure | undefined {
    return this.ready ? undefined : this.#problem;
  }

  /** Starts the first engine. */
  start(): void {
    if (this.#closing) return;
    this.#startEngine();
    this.#cancelLooks = this.#options.clock.every(LIMITS.heartbeatMs, () => {
      void this.look();
    });
  }

  /** Tells every engine of ours to end its streams gracefully and leave, also those whose sockets have vanished. */
  stop(): void {
    for (const { link } of this.#living) link.tell({ type: 'stop' });
  }

  /** No engine is started any more. Those that live stay as they are. */
  halt(): void {
    this.#closing = true;
    this.#cancelLooks();
    this.#cancelRestart();
  }

  /** Releases all engines: they drain, and live as long as their streams. */
  close(): void {
    this.halt();
    this.#current = undefined;
    for (const { link, started } of this.#living) {
      started();
      link.release();
    }
  }

  /** Generations of the engines of ours whose process is still there. */
  get living(): string[] {
    return [...this.#living].map(({ link }) => link.generation);
  }

  /** Ends those that are not ready yet: they hold no stream, and nobody could tell them to stop. */
  killStarting(): void {
    for (const { link } of this.#living) if (!link.ready) link.kill();
  }

  /** Ends engines of ours that are still there (all, or those in `only`). Returns their generations. */
  kill(only?: readonly string[]): string[] {
    const doomed = [...this.#living].filter(({ link }) => only?.includes(link.generation) ?? true);
    for (const { link } of doomed) link.kill();
    return doomed.map(({ link }) => link.generation);
  }

  /** Asks the current engine whether it lives. Never rejects. */
  async look(): Promise<void> {
    const engine = this.#current;
    if (engine?.link.ready !== true) return;
    const { ask, log, onStatus } = this.#options;
    const { generation } = engine.link;
    try {
      const status = await ask(generation);
      engine.missed = 0;
      engine.unfound = 0;
      onStatus(generation, status);
    } catch (error) {
      if (isSilence(error)) engine.missed += 1;
      else engine.unfound += 1;
      const { missed, unfound } = engine;
      log.warn({ generation, missed, unfound, why: textOf(error) }, 'engine does not answer');
      if (missed >= MISSES || unfound >= MISSES_UNFOUND) this.#retire(engine, 'it does not answer');
    }
  }

  #startEngine(): void {
    const { clock, fork, start, log, onReady, handlers } = this.#options;
    // Sorts by age, unique on one machine: two starts are more than 1 ms apart.
    const generation = clock.now().toString(36);
    let process: EngineProcess;
    try {
      process = fork();
    } catch (error) {
      const problem = fail('engine_unstartable', { why: textOf(error) }, error);
      log.error(
        { generation, code: problem.code, why: textOf(error) },
        'the engine process cannot be started',
      );
      this.#restartLater(undefined, problem);
      return;
    }
    const link: EngineLink = new EngineLink(process, start(generation), {
      ...handlers,
      onReady: () => {
        engine.started();
        const ms = clock.now() - engine.startedAt;
        log.info({ generation, ms }, 'engine is ready');
        if (this.#current === engine) onReady(link);
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
      missed: 0,
      unfound: 0,
      started: onSilence(LIMITS.engineStartMs, () => {
        log.error({ generation }, 'the engine did not become ready in time');
        link.kill();
      }),
    };
    this.#current = engine;
    this.#living.add(engine);
    this.#problem = fail('engine_unavailable', { why: 'it is starting' });
    log.info({ generation, pid: process.pid }, 'engine starts');
  }

  /** The engine lives, but gets no more streams: another one takes over, and this one finishes what it has. */
  #retire(engine: Engine, why: string): void {
    if (this.#current !== engine) return;
    const { log, onLeave } = this.#options;
    const { link } = engine;
    log.warn({ generation: link.generation, why }, 'engine is retired');
    onLeave(link, why);
    engine.started();
    this.#current = undefined;
    // It drains when it can read this; what is in the channel already stays readable. Its socket may be what is wrong with it.
    link.tell({ type: 'drain' });
    this.#restartLater(engine, fail('engine_unavailable', { why }));
  }

  #gone(engine: Engine, why: string): void {
    if (!this.#living.delete(engine)) return;
    engine.started();
    const { log, stderr, onLeave } = this.#options;
    const { generation, pid } = engine.link;
    const wasCurrent = this.#current === engine;
    const captured = wasCurrent ? stderr() : '';
    log.warn({ generation, pid, why, ...(captured === '' ? {} : { stderr: captured }) }, 'engine is gone');
    onLeave(engine.link, why);
    if (!wasCurrent) return;
    this.#current = undefined;
    const problem =
      pid === undefined
        ? fail('engine_unstartable', { why })
        : fail(
            'engine_unavailable',
            { why: `the last one ended with ${why}` },
            captured === '' ? undefined : new Error(captured),
          );
    this.#restartLater(engine, problem);
  }

  /** `last`: the engine that has ended or hangs; undefined when not even its process could be started. */
  #restartLater(last: Engine | undefined, problem: Failure): void {
    if (this.#closing) return;
    this.#problem = problem;
    const wasReady = last?.link.wasReady === true;
    const healthy = wasReady && this.#options.clock.now() - last.startedAt > HEALTHY_MS;
    this.#failures = healthy ? 0 : this.#failures + 1;
    const steps = wasReady ? BACKOFF_MS : FAILING_BACKOFF_MS;
    const wait = steps[Math.min(healthy ? 0 : this.#failures - 1, steps.length - 1)] ?? 0;
    this.#cancelRestart();
    this.#cancelRestart = this.#options.clock.after(wait, () => {
      if (!this.#closing) this.#startEngine();
    });
  }
}
