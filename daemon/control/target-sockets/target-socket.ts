// One target socket: what it should be (where its target leads), what it is (a socket, and what the engine knows of it), and how the second follows the
// first. Nothing here waits for another target socket.
import { isDeepStrictEqual } from 'node:util';
import type { BrokerEvent } from '../../api/answers.ts';
import type { Clock } from '../../base/async/clock.ts';
import { Refresh } from '../../base/async/single-flight.ts';
import { untilAborted } from '../../base/async/until-aborted.ts';
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { TargetSocketPlan } from '../../engine-protocol/messages.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { BoundSocket, type SocketCount } from './bound-socket.ts';
import type { CurrentEngine, TargetSocketEngine } from './engine.ts';
import type { TargetSocketFolder } from './folder.ts';
import { Lookup } from './lookup.ts';

/** What all target sockets share. */
export interface TargetSocketDeps {
  readonly engines: CurrentEngine;
  readonly count: SocketCount;
  readonly clock: Clock;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  /** False when the bmuxd dir belongs to another daemon by now: its target sockets are not to be replaced. */
  readonly mayTakeBack: () => Promise<boolean>;
}

export interface TargetSocketOptions extends TargetSocketDeps {
  /** Names it to the engine. No other target socket has it, before or after. */
  readonly id: string;
  /** The target as a person names it. */
  readonly target: string;
  /** Folder of the context's target sockets. */
  readonly parent: string;
  /** Finds out where the target leads. It may ask the control plane. */
  readonly resolve: (signal: AbortSignal) => Promise<TargetSocketPlan>;
}

/** ms until a failed target socket is tried again: the first pause, which doubles up to the longest. */
const FIRST_PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 60_000;
/** Failures that say nothing of the target: the next try may succeed. */
const PASSING: ReadonlySet<string> = new Set(['engine_unavailable', 'out_of_time']);

export class TargetSocket {
  readonly id: string;
  readonly target: string;
  /** True when the config names the target. It has no socket then while the config says wrongly where it leads; an inline target keeps its socket. */
  isConfigured = false;
  readonly #options: TargetSocketOptions;
  readonly #lookup: Lookup<TargetSocketPlan>;
  readonly #application = new Refresh(() => this.#apply());
  /** Aborts when the target socket is to go. */
  readonly #stop = new AbortController();
  #state: 'active' | 'halted' | 'released' = 'active';
  #socket: BoundSocket | undefined;
  /** What was sent last, and to whom. */
  #sent: { readonly engine: TargetSocketEngine; readonly data: TargetSocketPlan } | undefined;
  /** Why the socket could not be made, or sent, the last time. */
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

  /** Finds out where the target leads now, and brings socket and engine up to date with that. Never rejects. */
  async refresh(): Promise<void> {
    this.#forgetRetry();
    await this.#lookup.run();
    await this.#applied();
  }

  /** The same. Resolves with the folder when an engine accepts there. Rejects with what prevents that, or when `signal` aborts. */
  get(signal: AbortSignal): Promise<TargetSocketFolder> {
    return untilAborted(this.#get(), signal);
  }

  /** Where the target leads now; the engine is told when that has changed. Rejects with the failure of the target. */
  async resolveAgain(): Promise<Destination | undefined> {
    await this.#lookup.run();
    void this.#applied();
    if (this.#lookup.failure !== undefined) throw this.#lookup.failure;
    return this.#wanted?.destination;
  }

  /** There is another engine: it gets the socket, or the socket is made that could not be made without it. */
  attached(): void {
    this.#forgetRetry();
    void this.#applied();
  }

  /** Looks whether the path still leads to the socket, and takes it back when it does not. Never rejects. */
  async look(): Promise<void> {
    if (this.#socket === undefined || this.#cancelRetry !== undefined || this.#isLooking) return;
    this.#isLooking = true;
    const isOurs = await this.#socket.folder.isOurs();
    this.#isLooking = false;
    if (!isOurs) await this.#applied();
  }

  /** Nothing is looked up or tried again any more. The socket stays. */
  halt(): void {
    if (this.#state === 'active') this.#state = 'halted';
    this.#forgetRetry();
    this.#lookup.halt();
  }

  /** An engine may go on accepting, until another control has taken the path over. */
  release(): void {
    this.halt();
    this.#state = 'released';
    this.#stop.abort(fail('stopping'));
    this.#socket?.close();
  }

  /** Takes the socket away, and stops what is under way. Never rejects. */
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

  /** Undefined when there is to be no socket. */
  get #wanted(): TargetSocketPlan | undefined {
    const { found, failure } = this.#lookup;
    if (this.#stop.signal.aborted) return undefined;
    return this.isConfigured && failure !== undefined && !PASSING.has(failure.code) ? undefined : found;
  }

  async #applied(): Promise<void> {
    await this.#application.request();
    this.#planRetry();
  }

  /** Never rejects. */
  async #apply(): Promise<void> {
    if (this.#state === 'released') return;
    try {
      const data = this.#wanted;
      // At once, whatever becomes of the folder.
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
    const { parent, engines, count } = this.#options;
    this.#giveBack ??= count.take();
    try {
      const socket = await BoundSocket.make({
        parent,
        target,
        listen: async (server) => {
          const engine = await engines.listen(id, data, server, this.#stop.signal);
          this.#sent = { engine, data };
        },
        onChange: () => void this.look(),
      });
      this.#warnOf(socket.folder.setAside);
      // It was released meanwhile.
      if (this.#state === 'released') socket.close();
      return socket;
    } catch (error) {
      this.#sent = undefined;
      if (this.#socket === undefined) this.#giveBackCount();
      throw error;
    }
  }

  /** Tells the engine what it does not know yet. */
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

  /** Somebody else's socket, or none, is where ours should be: a new folder takes the path back. */
  async #takeBack(lost: BoundSocket, data: TargetSocketPlan): Promise<void> {
    const { log, event, mayTakeBack } = this.#options;
    if (!(await mayTakeBack())) return;
    const { target } = this;
    const path = lost.folder.socketPath;
    log.warn({ target, path }, 'the target socket was replaced by somebody; taking the path back');
    event({ type: 'target socket taken back', target, detail: path });
    this.#socket = await this.#open(data);
    lost.close();
    await this.#removeFolder(lost);
  }

  async #close(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#socket = undefined;
    await this.#removeFolder(socket);
    socket.close();
    this.#sent?.engine.tell({ type: 'close target socket', targetSocket: this.id });
    this.#sent = undefined;
    this.#giveBackCount();
  }

  #giveBackCount(): void {
    this.#giveBack?.();
    this.#giveBack = undefined;
  }

  /** Never rejects: what cannot be removed must not prevent a new socket, or the end of the daemon. */
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
      'what somebody else has put in the place of the target socket is kept; a server in it is reached with this path as BMUX_RUNTIME_DIR',
    );
  }

  /** Tries again later what may succeed then. Each target socket waits for itself. */
  #planRetry(): void {
    const failure = this.#unopened ?? this.#passingFailure();
    if (failure === undefined) this.#retries = 0;
    if (failure === undefined || this.#state !== 'active' || this.#cancelRetry !== undefined) return;
    const { clock, log } = this.#options;
    const ms = Math.min(FIRST_PAUSE_MS * 2 ** this.#retries, LONGEST_PAUSE_MS);
    this.#retries += 1;
    log.debug({ target: this.target, err: failure.data, ms }, 'the target socket is tried again later');
    this.#cancelRetry = clock.after(ms, () => {
      this.#cancelRetry = undefined;
      void this.refresh();
    });
  }

  /** A mistake in the config goes with a change of the config only. An inline target that has a socket is looked up when that leads nowhere. */
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
