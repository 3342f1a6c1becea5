// One target socket. Its wanted state is where the target leads; its actual state is the socket, and the plan that the engine has.
// `#apply` brings the actual state in line with the wanted one. No target socket waits for another one, except for room.
import { isDeepStrictEqual } from 'node:util';
import { pauseAfter } from '../../base/async/backoff.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { untilAborted } from '../../base/async/until-aborted.ts';
import type { Failure } from '../../base/failure.ts';
import type { TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { BoundSocket } from './bound-socket.ts';
import type { TargetSocketDeps, TargetSocketEngine } from './engine.ts';
import type { TargetSocketFolder } from './folder.ts';
import { Lookup } from './lookup.ts';

export interface TargetSocketOptions extends TargetSocketDeps {
  /** The id that the engine knows it by. It is never used for another target socket. */
  readonly id: string;
  /** The target as the user names it. */
  readonly target: string;
  /** Folder of the context's target sockets. */
  readonly parent: string;
  /** Resolves the target. This may need a lookup at the control plane. */
  readonly resolve: (signal: AbortSignal) => Promise<TargetSocketPlan>;
}

/** The pauses until a failed target socket is tried again, with its lookup, and without a lookup. */
const PAUSES = { firstMs: 2000, lastMs: 60_000 } as const;
const HERE = { firstMs: 2000, lastMs: 4000 } as const;
/** Failures that are not caused by the target itself. The next attempt may succeed. */
const PASSING: ReadonlySet<string> = new Set(['engine_unavailable', 'out_of_time']);
/** Failures of this machine, which a person mends. To try again costs nobody else anything. */
const OURS_TO_MEND: ReadonlySet<string> = new Set(['runtime_dir_unwritable', 'files_exhausted']);

export class TargetSocket {
  readonly id: string;
  readonly target: string;
  /** True when the config names the target. A mistake in the config then removes its socket. An inline target keeps its socket. */
  isConfigured = false;
  readonly #options: TargetSocketOptions;
  readonly #lookup: Lookup<TargetSocketPlan>;
  readonly #application = new Refresh(() => this.#apply());
  /** Aborts when the target socket is removed or released. */
  readonly #stop = new AbortController();
  #state: 'active' | 'halted' | 'released' = 'active';
  #socket: BoundSocket | undefined;
  /** The plan that was sent last, and the engine that got it. */
  #sent: { readonly engine: TargetSocketEngine; readonly data: TargetSocketPlan } | undefined;
  /** Why the last attempt to make the socket, or to send it to the engine, failed. */
  #unopened: Failure | undefined;
  #giveBack: (() => void) | undefined;
  #isLooking = false;
  #retries = 0;
  #cancelRetry: (() => void) | undefined;

  constructor(options: TargetSocketOptions) {
    this.#options = options;
    this.id = options.id;
    this.target = options.target;
    this.#lookup = new Lookup(options.clock, options.resolve);
  }

  /** Resolves the target again, and updates socket and engine accordingly. Never rejects. */
  async refresh(): Promise<void> {
    this.#forgetRetry();
    const { count } = this.#options;
    // A lookup would be for nothing.
    if (this.#socket === undefined && this.isConfigured && this.#giveBack === undefined && count.isFull)
      return this.#waitForRoom();
    await this.#lookup.run();
    await this.#applied();
  }

  /** Does the same, and resolves with the folder when an engine accepts there. Rejects with what prevents that, or when `signal` aborts. */
  get(signal: AbortSignal): Promise<TargetSocketFolder> {
    return untilAborted(this.#get(), signal);
  }

  /** Resolves the target again, and tells the engine when the destination has changed. Rejects with the failure of the target. */
  async resolveAgain(): Promise<Destination | undefined> {
    await this.#lookup.run();
    void this.#applied();
    if (this.#lookup.failure !== undefined) throw this.#lookup.failure;
    return this.#wanted?.destination;
  }

  /** Where the engine sends its clients; undefined while there is no socket. */
  get destination(): Destination | undefined {
    return this.#sent?.data.destination;
  }

  /** Why this machine refuses the socket; undefined when it does not. */
  get refusal(): Failure | undefined {
    return OURS_TO_MEND.has(this.#unopened?.code ?? '') ? this.#unopened : undefined;
  }

  /** Called when another engine is ready. It gets the socket; a socket that could not be made without an engine is made now. */
  attached(): void {
    // Without a result of a lookup there is nothing to send. It waits for room, or is applied when it is found.
    if (this.#lookup.found === undefined && this.#lookup.failure === undefined) return;
    this.#forgetRetry();
    void this.#applied();
  }

  /** Checks that the path leads to the socket, and takes it back when it does not. Never rejects. */
  async look(): Promise<void> {
    if (this.#socket === undefined || this.#cancelRetry !== undefined || this.#isLooking) return;
    this.#isLooking = true;
    const isOurs = await this.#socket.folder.isOurs();
    this.#isLooking = false;
    if (!isOurs) await this.#applied();
  }

  /** Stops lookups and retries. The socket stays. */
  halt(): void {
    if (this.#state === 'active') this.#state = 'halted';
    this.#forgetRetry();
    this.#lookup.halt();
  }

  /** Closes control's handle and keeps the path. An engine may go on accepting until another control has replaced the path. */
  release(): void {
    this.halt();
    this.#state = 'released';
    this.#stop.abort(fail('stopping'));
    this.#socket?.close();
  }

  /** Removes the socket, and stops what is in progress. Never rejects. */
  async remove(): Promise<void> {
    this.halt();
    this.#stop.abort(fail('stopping'));
    await this.#application.request();
  }

  async #get(): Promise<TargetSocketFolder> {
    this.#forgetRetry();
    await this.#lookup.run();
    const { failure } = this.#lookup;
    const applied = this.#applied();
    if (failure !== undefined) throw failure;
    await applied;
    if (this.#state !== 'active') throw fail('stopping');
    if (this.#socket === undefined) throw this.#unopened ?? fail('stopping');
    return this.#socket.folder;
  }

  /** The plan that the socket should have; undefined when there should be no socket. */
  get #wanted(): TargetSocketPlan | undefined {
    const { found, failure } = this.#lookup;
    if (this.#stop.signal.aborted) return undefined;
    return this.isConfigured && failure !== undefined && !PASSING.has(failure.code) ? undefined : found;
  }

  async #applied(): Promise<void> {
    await this.#application.request();
    this.#planRetry();
  }

  /** Makes, replaces or removes the socket, and tells the engine. Never rejects. */
  async #apply(): Promise<void> {
    if (this.#state === 'released') return;
    try {
      const data = this.#wanted;
      // The engine is told first, so that an error with the folder does not delay a new destination.
      this.#tell();
      if (data === undefined) await this.#close();
      else if (this.#socket === undefined) this.#socket = await this.#open(data);
      else if (!(await this.#socket.folder.isOurs())) await this.#takeBack(this.#socket, data);
      this.#unopened = undefined;
      this.#tell();
    } catch (error) {
      this.#unopened = asFailure(error);
    }
  }

  async #open(data: TargetSocketPlan): Promise<BoundSocket> {
    const { id, target } = this;
    const { parent, engines, count, instance } = this.#options;
    this.#giveBack ??= count.take();
    try {
      const socket = await BoundSocket.make({
        parent,
        target,
        listen: async (server) => {
          const engine = await engines.listen(id, data, server, this.#stop.signal);
          this.#sent = { engine, data };
        },
        isOurs: () => instance.isOurs(),
        onChange: () => void this.look(),
      });
      this.#warnOf(socket.folder.setAside);
      // The target socket was released while this one was made.
      if (this.#state === 'released') socket.close();
      return socket;
    } catch (error) {
      // It keeps its room for the next attempt. Otherwise, all that wait for room would be tried while there is no engine.
      this.#sent = undefined;
      throw error;
    }
  }

  /** Sends the engine the socket, or the new plan, unless it has it already. */
  #tell(): void {
    const data = this.#wanted;
    const { current: engine } = this.#options.engines;
    if (engine === undefined || this.#socket === undefined || data === undefined) return;
    if (this.#sent?.engine !== engine) {
      this.#sent = { engine, data };
      const socket = { kind: 'target' as const, targetSocket: this.id, ...data };
      engine.listen(socket, this.#socket.server, this.#stop.signal).catch((error: unknown) => {
        if (this.#sent?.engine !== engine || this.#options.engines.current !== engine) return;
        this.#sent = undefined;
        this.#unopened = asFailure(error);
        this.#planRetry();
      });
    } else if (!isDeepStrictEqual(data, this.#sent.data)) {
      this.#sent = { engine, data };
      engine.update(this.id, data);
    }
  }

  /** Called when the path leads to another socket or to none. Makes a new folder, and lets the path lead to it again. */
  async #takeBack(lost: BoundSocket, data: TargetSocketPlan): Promise<void> {
    const { log, event, instance } = this.#options;
    if (!(await instance.isOurs())) return;
    const { target } = this;
    const path = lost.folder.socketPath;
    const text = 'the target socket was replaced by somebody; taking the path back';
    log[instance.runtimeDir.lossLevel]({ target, path }, text);
    event({ type: 'target socket taken back', target, detail: path });
    this.#socket = await this.#open(data);
    lost.close();
    await this.#removeFolder(lost);
  }

  async #close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket !== undefined) {
      await this.#removeFolder(socket);
      socket.close();
      this.#sent?.engine.tell({ type: 'close target socket', targetSocket: this.id });
      this.#sent = undefined;
    }
    this.#giveBack?.();
    this.#giveBack = undefined;
  }

  /** Never rejects: a failed removal must prevent neither a new socket nor the end of the daemon. */
  async #removeFolder({ folder }: BoundSocket): Promise<void> {
    try {
      this.#warnOf(await folder.remove());
    } catch (error) {
      const { target } = this;
      this.#options.log.warn({ target, err: asFailure(error).data }, 'removing a target socket');
    }
  }

  #warnOf(setAside: string | undefined): void {
    if (setAside === undefined) return;
    this.#options.log.warn(
      { target: this.target, path: setAside },
      'the folder that had replaced the target socket is kept; to reach a server in it, set BMUX_RUNTIME_DIR to this path',
    );
  }

  /** Plans a retry when the last failure may pass: after a pause of its own, or when there is room for another target socket. */
  #planRetry(): void {
    const failure = this.#unopened ?? this.#passingFailure();
    if (failure === undefined) this.#retries = 0;
    if (failure === undefined || this.#state !== 'active' || this.#cancelRetry !== undefined) return;
    if (failure.code === 'target_sockets_full') return this.#waitForRoom();
    const { clock, log, random } = this.#options;
    const isHere = failure === this.refusal;
    const ms = pauseAfter(this.#retries++, isHere ? HERE : PAUSES, random);
    log.debug({ target: this.target, err: failure.data, ms }, 'the target socket is tried again later');
    this.#cancelRetry = clock.after(ms, () => void (isHere ? this.attached() : this.refresh()));
  }

  #waitForRoom(): void {
    if (this.#state === 'active') this.#cancelRetry = this.#options.count.whenRoom(() => this.refresh());
  }

  /**
   * The failure of the last lookup, if a retry may help. For a configured target only a change of the config helps. An inline target with
   * a socket needs no retry, since the engine asks again when its destination is unreachable.
   */
  #passingFailure(): Failure | undefined {
    const { failure } = this.#lookup;
    if (failure === undefined || PASSING.has(failure.code)) return failure;
    return this.isConfigured || this.#socket !== undefined ? undefined : failure;
  }

  #forgetRetry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
  }
}
