// The supervisor of engines: one current engine that takes sockets, others that finish their streams, a new one when one dies.
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths, Env } from '../../base/paths.ts';
import { onSilence } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { engineRequest, isSilence } from '../../sockets/http-request.ts';
import type { HandoffSender } from '../../sockets/sender.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import { isFromEngine, type EngineStart, type ToEngine } from '../../engine-protocol/messages.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Settings } from '../../config/settings/table.ts';
import { forkEngine } from './engine-process.ts';
import { CapturedStderr } from './captured-stderr.ts';

export interface EngineSupervisorOptions {
  readonly paths: BmuxdPaths;
  readonly version: string;
  /** The daemon's own environment, for its engines. */
  readonly env: Env;
  readonly settings: () => Settings;
  readonly sender: HandoffSender;
  readonly log: Logger;
  /** Takes the log lines of engines as they are. */
  readonly writeLine: (line: string) => void;
  /** An engine takes sockets from now on; it is the current one. */
  readonly onReady: (engine: ChildProcess) => void;
  /** The engine gets nothing more: it ended, or is retired. */
  readonly onLeave: (engine: ChildProcess, why: string) => void;
  readonly onEvent: (event: BrokerEvent) => void;
  /** What the current engine says of itself at each look. */
  readonly onStatus: (generation: string, status: unknown) => void;
  /** The plan of that target socket led nowhere. */
  readonly onStaleTargetSocket: (targetSocket: string) => void;
}

interface Engine {
  readonly generation: string;
  readonly child: ChildProcess;
  readonly startedAt: number;
  ready: boolean;
  /** Looks that got no answer, since the last one that did. */
  missed: number;
  /** The same for looks that did not even find its socket. */
  unfound: number;
  /** Ends the wait for its start. */
  readonly started: () => void;
}

/** Looks without an answer after which another engine takes over: one may be lost to a busy machine. */
const MISSES = 2;
/** The same when its socket has vanished: whoever removes it may go on for a while, and only an engine that hangs leaves it so. */
const MISSES_UNFOUND = 5;
/** ms before a further start when engines die soon; the first restart is immediate, and one that has served is replaced within a second. */
const BACKOFF_MS = [0, 200, 500, 900] as const;
/** The same when they do not even become ready: what keeps them from it needs a person, and trying costs a whole process each time. */
const FAILING_BACKOFF_MS = [...BACKOFF_MS, 2000, 5000, 15_000, 30_000] as const;
/** An engine that lived this long did not die of its start. */
const HEALTHY_MS = 10_000;

/** Lifecycle of one engine: starting -> ready (current) -> retired (lives, gets nothing more) -> gone. */
export class EngineSupervisor {
  readonly #options: EngineSupervisorOptions;
  readonly #capturedStderr: CapturedStderr;
  #current: Engine | undefined;
  /** Every engine that this control started and that lives, retired ones included. */
  readonly #living = new Set<Engine>();
  #deaths = 0;
  #restart: NodeJS.Timeout | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #closing = false;
  /** Why there is no ready engine, for the status. */
  #why = 'it is starting';

  constructor(options: EngineSupervisorOptions) {
    this.#options = options;
    this.#capturedStderr = new CapturedStderr(join(options.paths.stateDir, 'engine.stderr'));
  }

  /** True when an engine takes sockets. */
  get ready(): boolean {
    return this.#current?.ready === true;
  }

  /** Of the engine that takes sockets; undefined while there is none. */
  get generation(): string | undefined {
    return this.ready ? this.#current?.generation : undefined;
  }

  /** Why no engine is ready; meaningful only then. */
  get why(): string {
    return this.#why;
  }

  /** Starts the first engine. */
  start(): void {
    if (this.#closing) return;
    this.#spawn();
    this.#heartbeat = setInterval(() => {
      void this.#look();
    }, LIMITS.heartbeatMs);
  }

  /** Tells the current engine; nobody when there is none. */
  tell(message: ToEngine): void {
    if (this.#current?.ready === true) say(this.#current, message);
  }

  /** Tells every engine of ours to end its streams gracefully and leave, also those whose sockets have vanished. */
  stop(): void {
    for (const engine of this.#living) say(engine, { type: 'stop' });
  }

  /** No engine is started any more. Those that live stay as they are. */
  halt(): void {
    this.#closing = true;
    clearInterval(this.#heartbeat);
    clearTimeout(this.#restart);
  }

  /** Lets go of all engines: they drain, and live as long as their streams. Control does not wait for them. */
  close(): void {
    this.halt();
    this.#current = undefined;
    for (const { child, started } of this.#living) {
      started();
      if (child.connected) child.disconnect();
      child.unref();
    }
  }

  /** Generations of the engines of ours whose process is still there. */
  get living(): string[] {
    return [...this.#living].map(({ generation }) => generation);
  }

  /** Ends those that have not come to be ready: they hold no stream, and nobody could tell them to stop. */
  killStarting(): void {
    for (const { child, ready } of this.#living) if (!ready) child.kill('SIGKILL');
  }

  /** Ends what does not end by itself: engines of ours that are still there (all, or those in `only`). Returns their generations. */
  kill(only?: readonly string[]): string[] {
    const doomed = [...this.#living].filter(({ generation }) => only?.includes(generation) ?? true);
    for (const { child } of doomed) child.kill('SIGKILL');
    return doomed.map(({ generation }) => generation);
  }

  #spawn(): void {
    const { paths, version, env, settings, log } = this.#options;
    // Sorts by age, unique on one machine: two starts are more than 1 ms apart.
    const generation = Date.now().toString(36);
    const start: EngineStart = {
      generation,
      version,
      socketPath: join(paths.enginesDir, `${generation}.sock`),
      stateDir: paths.stateDir,
      settings: settings(),
      together: true,
    };
    const child = this.#capturedStderr.lend((stderr) => forkEngine(start, env, stderr));
    const engine: Engine = {
      generation,
      child,
      startedAt: performance.now(),
      ready: false,
      missed: 0,
      unfound: 0,
      started: onSilence(LIMITS.engineStartMs, () => {
        log.error({ generation }, 'the engine did not become ready in time');
        child.kill('SIGKILL');
      }),
    };
    this.#current = engine;
    this.#living.add(engine);
    this.#why = 'it is starting';
    log.info({ generation, pid: child.pid }, 'engine starts');
    child.on('message', (message) => {
      this.#onMessage(engine, message);
    });
    child.on('error', (error) => {
      log.warn({ generation, err: textOf(error) }, 'engine process');
      if (child.pid === undefined) this.#gone(engine, textOf(error));
    });
    child.once('exit', (status, signal) => {
      const why = signal ?? `exit status ${String(status)}`;
      const gone = (): void => {
        this.#gone(engine, why);
      };
      // What it said last is still in the channel: a socket that it has answered must not go to another engine.
      if (child.connected) child.once('disconnect', gone);
      else gone();
    });
  }

  #onMessage(engine: Engine, message: unknown): void {
    if (!isFromEngine(message)) return;
    const { sender, log } = this.#options;
    switch (message.type) {
      case 'together':
        for (const one of message.messages) this.#onMessage(engine, one);
        break;
      case 'ready':
        engine.started();
        engine.ready = true;
        log.info(
          { generation: engine.generation, ms: Math.round(performance.now() - engine.startedAt) },
          'engine is ready',
        );
        if (this.#current === engine) {
          sender.attach(engine.child);
          this.#options.onReady(engine.child);
        }
        break;
      case 'taken':
        sender.onTaken(message.handoff);
        break;
      case 'settled':
        sender.onSettled(message.handoff);
        break;
      case 'unwell':
        this.#retire(engine, message.why);
        break;
      case 'stale target socket':
        this.#options.onStaleTargetSocket(message.targetSocket);
        break;
      case 'event':
        this.#options.onEvent(message.event);
        break;
      case 'log':
        this.#options.writeLine(message.line);
        break;
    }
  }

  /** The engine lives, but must get no more streams: another one takes over, and this one finishes what it has. */
  #retire(engine: Engine, why: string): void {
    if (this.#current !== engine) return;
    this.#options.log.warn({ generation: engine.generation, why }, 'engine is retired');
    this.#options.sender.retire(engine.child);
    this.#options.onLeave(engine.child, why);
    engine.started();
    this.#current = undefined;
    // It drains when it can read this; what is in the channel already stays readable. Its socket may be what is wrong with it.
    say(engine, { type: 'drain' });
    this.#schedule(engine, why);
  }

  #gone(engine: Engine, why: string): void {
    if (!this.#living.delete(engine)) return;
    engine.started();
    const { generation, child } = engine;
    const words = this.#current === engine ? this.#capturedStderr.read() : '';
    const said = words === '' ? {} : { stderr: words };
    this.#options.log.warn({ generation, pid: child.pid, why, ...said }, 'engine is gone');
    this.#options.sender.detach(engine.child, why);
    this.#options.onLeave(engine.child, why);
    if (this.#current !== engine) return;
    this.#current = undefined;
    this.#schedule(engine, `the last one ended with ${why}`);
  }

  #schedule(last: Engine, why: string): void {
    if (this.#closing) return;
    this.#why = why;
    const healthy = last.ready && performance.now() - last.startedAt > HEALTHY_MS;
    this.#deaths = healthy ? 0 : this.#deaths + 1;
    const steps = last.ready ? BACKOFF_MS : FAILING_BACKOFF_MS;
    const wait = steps[Math.min(healthy ? 0 : this.#deaths - 1, steps.length - 1)] ?? 0;
    clearTimeout(this.#restart);
    this.#restart = setTimeout(() => {
      this.#spawn();
    }, wait);
  }

  async #look(): Promise<void> {
    const engine = this.#current;
    if (engine?.ready !== true) return;
    try {
      const socketPath = join(this.#options.paths.enginesDir, `${engine.generation}.sock`);
      const { body } = await engineRequest(socketPath, 'GET', '/v1/engine');
      engine.missed = 0;
      engine.unfound = 0;
      this.#options.onStatus(engine.generation, body);
    } catch (error) {
      // Somebody has removed its socket (a cleaner of temp folders): the engine itself may be well, and binds it again.
      if (isSilence(error)) engine.missed += 1;
      else engine.unfound += 1;
      this.#options.log.warn(
        { generation: engine.generation, missed: engine.missed, unfound: engine.unfound, why: textOf(error) },
        'engine does not answer',
      );
      if (engine.missed >= MISSES || engine.unfound >= MISSES_UNFOUND)
        this.#retire(engine, 'it does not answer');
    }
  }
}

function say({ child }: Engine, message: ToEngine): void {
  // Whether it has gone meanwhile, its exit says.
  if (child.connected) child.send(message, () => undefined);
}
