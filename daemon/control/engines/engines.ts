// The engines of this user, as control has them: the supervisor, the directory of all engines, and the socket for stream requests.
import { SYSTEM_CLOCK, workAhead } from '../../base/async/clock.ts';
import { settledWithin } from '../../base/async/deadline.ts';
import { monotonicMs } from '../../base/async/monotonic.ts';
import { untilAborted } from '../../base/async/until-aborted.ts';
import { sleep } from '../../base/async/sleep.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Logger, LogSink } from '../../base/log.ts';
import type { BmuxdPaths, Env } from '../../base/paths.ts';
import { isEngineStatus } from '../../api/answer-shapes.ts';
import type { BrokerEvent, UpstreamRow } from '../../api/answers.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { OneToEngine } from '../../engine-protocol/messages.ts';
import { fail } from '../../errors/fail.ts';
import { engineRequest } from '../../sockets/http-request.ts';
import type { InstalledPackage } from '../installed-package.ts';
import type { Instance } from '../instance/instance.ts';
import type { RequestPlanner } from '../planning/request-planner.ts';
import type { TargetSocketReconciler } from '../target-sockets/reconciler.ts';
import { CapturedStderr } from './captured-stderr.ts';
import { EngineDirectory } from './engine-directory.ts';
import type { EngineLink } from './engine-link.ts';
import { forkEngine, type EarlyProcess } from './engine-process.ts';
import { NodeOptions } from './node-options.ts';
import { StreamsSocket } from './streams-socket.ts';
import { EngineSupervisor } from './supervisor.ts';
import { Draining } from './others/draining.ts';
import { LostConnections } from './others/lost-connections.ts';
import { EngineSocketFiles } from './others/socket-files.ts';
import { EngineUsage } from './others/usage.ts';
import { Tallies } from '../metrics/tallies.ts';

export interface EnginesOptions {
  readonly paths: BmuxdPaths;
  readonly version: string;
  /** The daemon's own environment, which engines inherit. */
  readonly env: Env;
  readonly settings: () => Settings;
  readonly instance: Pick<Instance, 'isOurs' | 'runtimeDir'>;
  readonly log: Logger;
  readonly installed: Pick<InstalledPackage, 'refusal'>;
  /** The process of the first engine. */
  readonly early: EarlyProcess;
  /** Descriptor of the streams socket, if a service manager has passed one. */
  readonly streamsFd: number | undefined;
  readonly event: (event: Omit<BrokerEvent, 'atMs'> & { readonly atMs?: number }) => void;
  /** Gets the log lines of engines. */
  readonly sink: LogSink;
  readonly planner: Pick<RequestPlanner, 'plan'>;
  readonly targetSockets: Pick<TargetSocketReconciler, 'attach' | 'detach' | 'heard' | 'resolveAgain'>;
  /** Called when an engine is ready and has got the target sockets. */
  readonly onReady: () => void;
}

/** ms between two looks whether an engine accepts. */
const LOOK_MS = 10;

/** Binds no socket before `start`. */
export class Engines {
  readonly supervisor: EngineSupervisor;
  readonly directory: EngineDirectory;
  readonly streamsSocket: StreamsSocket;
  readonly nodeOptions: NodeOptions;
  readonly tallies = new Tallies();
  readonly lost: LostConnections;
  /** Resolves when the first engine accepts streams, or when its start has failed. */
  readonly firstTried: Promise<void>;
  readonly #options: EnginesOptions;
  readonly #sockets: EngineSocketFiles;
  readonly #usage: EngineUsage;
  readonly #draining: Draining;
  #hasTakenOver = false;
  /** True when an engine that is ready accepts. */
  #isOpen = false;
  #resolveReady: () => void = () => {};
  /** Resolves when the first engine is ready, whether or not it accepts. */
  readonly #firstReady = new Promise<void>((resolve) => {
    this.#resolveReady = resolve;
  });

  constructor(options: EnginesOptions) {
    const { paths, version, env, settings, instance, log, event, sink, planner, targetSockets } = options;
    this.#options = options;
    let tried = (): void => {};
    this.firstTried = new Promise((resolve) => {
      tried = resolve;
    });
    this.lost = new LostConnections({ stateDir: paths.stateDir, log });
    this.directory = new EngineDirectory({
      dir: paths.enginesDir,
      onTally: this.tallies.heard,
      onHeard: (upstreams) => {
        this.lost.heard(upstreams);
      },
      onCrash: (upstreams) => {
        this.lost.crashed(upstreams);
      },
    });
    this.nodeOptions = new NodeOptions(env, log);
    const captured = new CapturedStderr(paths.stateDir);
    const sockets = new EngineSocketFiles(paths.enginesDir);
    this.#sockets = sockets;
    this.streamsSocket = new StreamsSocket({
      path: paths.streamsSocket,
      fd: options.streamsFd,
      isOurs: () => instance.isOurs(),
      runtimeDir: instance.runtimeDir,
      onAccepted: tried,
      log,
    });
    this.supervisor = new EngineSupervisor({
      clock: SYSTEM_CLOCK,
      log,
      runtimeDir: instance.runtimeDir,
      isOurs: () => instance.isOurs(),
      refusal: options.installed.refusal,
      fork: () => captured.lend((stderr) => forkEngine(this.nodeOptions.env, stderr)),
      early: options.early,
      stderr: () => captured.read(),
      onFailedStart: (stderr) => {
        this.nodeOptions.failed(stderr);
      },
      start: () => {
        const generation = sockets.next(SYSTEM_CLOCK.now());
        const { stateDir, controlSocket } = paths;
        const socketPath = sockets.path(generation);
        return { generation, version, socketPath, stateDir, controlSocket, settings: settings() };
      },
      ask: async (generation) => (await engineRequest(sockets.path(generation), 'GET', '/v1/engine')).body,
      handlers: {
        onEvent: event,
        onTally: this.tallies.heard,
        onLog: (lines) => {
          sink.write(lines);
        },
        resolve: (requestId, header, signalOf) => planner.plan(requestId, header, signalOf),
        resolveAgain: (targetSocket) => targetSockets.resolveAgain(targetSocket),
      },
      onReady: (engine) => {
        this.nodeOptions.worked();
        this.#resolveReady();
        if (this.#isOpen) this.#accept(engine);
      },
      onLeave: (engine, why) => {
        this.streamsSocket.detach(engine);
        event({ type: 'engine gone', detail: why });
        targetSockets.detach(engine);
      },
      onTrouble: tried,
      onStatus: (generation, status) => {
        targetSockets.heard(this.directory.heard(generation, status));
        // This process is awake for it, and its own regular work is due soon after (`workAfterOthers`).
        workAhead(LIMITS.statusLateMs);
        void this.#usage.look();
      },
    });
    this.#draining = new Draining({
      directory: this.directory,
      isOurs: () => instance.isOurs(),
      settings,
      log,
    });
    this.#usage = new EngineUsage({ directory: this.directory, current: () => this.supervisor.current, log });
  }

  /** Starts the first engine. It accepts nothing before `open`. */
  async start(): Promise<void> {
    this.streamsSocket.open();
    await this.lost.load();
    await this.directory.sweep();
    this.supervisor.start();
  }

  /** What the engines of other daemons know of their servers. Never rejects. */
  formerUpstreams(): Promise<readonly UpstreamRow[]> {
    return this.directory.upstreamsBeside(this.supervisor.living);
  }

  /** Resolves when an engine accepts on the sockets of control, at the latest after `ms`. Never rejects. */
  async accepting(ms: number): Promise<void> {
    const until = performance.now() + ms;
    let isReady = false;
    while (performance.now() < until) {
      const { current } = this.supervisor;
      // Its death may not have been noticed yet.
      const answers = this.upstreams().then(
        () => current !== undefined,
        () => false,
      );
      const wasReady = isReady;
      isReady = await answers;
      // It is sent the sockets just after it is ready.
      if (wasReady && isReady && current?.isGettingSockets === false) return;
      await sleep(LOOK_MS);
    }
  }

  /** From now on the engine that is ready accepts streams. */
  open(): void {
    this.#isOpen = true;
    const { current } = this.supervisor;
    if (current !== undefined) this.#accept(current);
  }

  /** Resolves when the first engine is ready. Rejects with the reason why it is not when it has had its time. */
  async ready(signal: AbortSignal | undefined): Promise<void> {
    const late = (): Error => this.supervisor.problem ?? fail('engine_unavailable', { why: 'it is late' });
    const until = monotonicMs() + LIMITS.slowStartMs;
    let isReady = false;
    do {
      const ready = settledWithin(this.#firstReady, LIMITS.engineStartMs);
      isReady = await (signal === undefined ? ready : untilAborted(ready, signal));
    } while (!isReady && this.supervisor.isSlow && monotonicMs() < until);
    if (!isReady) throw late();
  }

  /** What the current engine knows of its servers. Rejects when it does not answer. */
  async upstreams(): Promise<readonly UpstreamRow[]> {
    const { current } = this.supervisor;
    if (current === undefined) return [];
    const { body } = await engineRequest(this.#sockets.path(current.generation), 'GET', '/v1/engine');
    return isEngineStatus(body) ? body.upstreams : [];
  }

  #accept(engine: EngineLink): void {
    const { event, targetSockets, onReady } = this.#options;
    this.streamsSocket.attach(engine);
    event({ type: 'engine ready' });
    void this.#usage.look();
    targetSockets.attach(engine);
    onReady();
    if (this.#hasTakenOver) this.#drainOthers();
  }

  /** Sends a message to the current engine, if there is one. */
  tell(message: OneToEngine): void {
    this.supervisor.current?.tell(message);
  }

  /** Sends the settings to the current engine, if there is one, and what concerns them to the others. */
  configure(settings: Settings): void {
    this.supervisor.current?.configure(settings);
    if (this.#hasTakenOver) this.#drainOthers();
  }

  /** Certificate files are read again at their next use. */
  readAgain(): void {
    this.tell({ type: 'read again' });
  }

  /**
   * Called when the saved target sockets have been made: all paths lead to sockets of this control now. Until then the engines of an earlier
   * control go on accepting on theirs. From now on they are told to drain.
   */
  takeOver(): void {
    this.#hasTakenOver = true;
    this.#drainOthers();
  }

  #drainOthers(): void {
    const { current } = this.supervisor;
    if (current !== undefined) void this.#draining.drainOthers(current.generation);
  }
}
