// Control's side of the hand-off: a bounded queue of sockets, one in flight at a time, each kept open here until the engine answers its client.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { onSilence } from '../base/async/deadline.ts';
import type { Failure } from '../base/failure.ts';
import type { ToEngine } from '../engine-protocol/messages.ts';
import { fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';
import { warningsOf, type Plan } from '../engine-protocol/plan.ts';
import { refuse } from './http-answer.ts';
import { monotonicMs } from './monotonic.ts';
import { travelling } from './accepted-socket.ts';

interface Waiting {
  readonly handoff: number;
  readonly plan: Plan;
  readonly socket: Socket;
  readonly head: string;
  readonly since: number;
  /** Engines that died with it: the second one may have died of it. */
  deaths: number;
  /** The engine that it was sent to. */
  engine: ChildProcess | undefined;
  /** True once it was refused here. */
  refused: boolean;
  /** Ends the wait for an answer. */
  answered: () => void;
  readonly done: (refused?: Failure) => void;
}

/** Passes sockets to whichever engine is current. A socket is in exactly one place: queue, in flight (untaken), taken, or done. */
export class HandoffSender {
  readonly #maxWaiting: () => number;
  readonly #queue: Waiting[] = [];
  readonly #taken = new Map<number, Waiting>();
  #inFlight: Waiting | undefined;
  #engine: ChildProcess | undefined;
  #next = 1;
  #closed = false;

  /** `maxWaiting`: sockets that may wait at once (settings `streams.max_waiting`). */
  constructor(options: { readonly maxWaiting: () => number }) {
    this.#maxWaiting = options.maxWaiting;
  }

  /** Sockets not yet answered by an engine. */
  get waiting(): number {
    return this.#queue.length + this.#taken.size + (this.#inFlight === undefined ? 0 : 1);
  }

  /** Resolves when the engine has answered the client or it was refused here. `head` must hold all that was read of the socket. */
  send(plan: Plan, socket: Socket, head: Buffer): Promise<Failure | undefined> {
    return new Promise((resolve) => {
      const waiting: Waiting = {
        handoff: this.#next++,
        plan,
        socket,
        head: head.toString('base64'),
        since: performance.now(),
        deaths: 0,
        engine: undefined,
        refused: false,
        answered: () => {},
        done: resolve,
      };
      if (this.#closed) {
        this.#refuse(waiting, fail('stopping'));
        return;
      }
      if (this.waiting >= this.#maxWaiting()) {
        this.#refuse(waiting, fail('engine_busy', { count: this.waiting }));
        return;
      }
      waiting.answered = onSilence(plan.budgetMs + LIMITS.engineGraceMs, () => {
        this.#late(waiting);
      });
      this.#queue.push(waiting);
      this.#pump();
    });
  }

  /** A new engine is ready: the queue goes to it. */
  attach(engine: ChildProcess): void {
    this.#engine = engine;
    this.#pump();
  }

  /**
   * The engine gets nothing more, but it lives: what was sent to it stays with it, since it may answer yet (another engine's answer on
   * the same socket would be mixed with its own). A client that it lets wait too long is refused; that shuts the socket down for both.
   */
  retire(engine: ChildProcess): void {
    if (this.#engine !== engine) return;
    this.#engine = undefined;
    if (this.#inFlight?.refused === false) this.#taken.set(this.#inFlight.handoff, this.#inFlight);
    this.#inFlight = undefined;
  }

  /**
   * The engine is gone. Nothing was read of a socket that it had not answered, so those go to the next engine;
   * one that has seen two engines die may be the cause, and is told so.
   */
  detach(engine: ChildProcess, why: string): void {
    this.retire(engine);
    // Its last words may still be in the channel: a socket that it has answered must not be answered again.
    if (engine.connected) engine.once('disconnect', () => this.#orphaned(engine, why));
    else this.#orphaned(engine, why);
  }

  #orphaned(engine: ChildProcess, why: string): void {
    const orphans = [...this.#taken.values()].filter((waiting) => waiting.engine === engine);
    for (const orphan of orphans.reverse()) {
      this.#taken.delete(orphan.handoff);
      orphan.deaths += 1;
      if (orphan.deaths < 2) this.#queue.unshift(orphan);
      else this.#refuse(orphan, fail('engine_lost', { why }));
    }
    this.#pump();
  }

  /** A message of the engine about a hand-off. */
  onTaken(handoff: number): void {
    const waiting = this.#inFlight;
    if (waiting?.handoff !== handoff) return;
    this.#inFlight = undefined;
    if (!waiting.refused) this.#taken.set(handoff, waiting);
    this.#pump();
  }

  onSettled(handoff: number): void {
    const waiting = this.#taken.get(handoff);
    if (waiting === undefined) return;
    this.#taken.delete(handoff);
    waiting.answered();
    // Closes our copy only: the engine's own is the same connection.
    waiting.socket.destroy();
    waiting.done();
  }

  /** Refuses everything that waits here. What an engine has taken it answers itself. */
  close(): void {
    this.#closed = true;
    for (const waiting of this.#queue.splice(0)) this.#refuse(waiting, fail('stopping'));
    const held = [...this.#taken.values(), ...(this.#inFlight === undefined ? [] : [this.#inFlight])];
    for (const waiting of held) {
      waiting.answered();
      waiting.socket.destroy();
      waiting.done();
    }
    this.#taken.clear();
    this.#inFlight = undefined;
    this.#engine = undefined;
  }

  #pump(): void {
    const engine = this.#engine;
    if (engine?.connected !== true || this.#inFlight !== undefined) return;
    const waiting = this.#queue.shift();
    if (waiting === undefined) return;
    const left = waiting.plan.budgetMs - (performance.now() - waiting.since);
    if (left <= 0) {
      // The wait for an engine has used it up: no other step may be blamed.
      this.#refuse(waiting, fail('engine_unavailable', { why: 'none became ready in time' }));
      this.#pump();
      return;
    }
    this.#inFlight = waiting;
    waiting.engine = engine;
    const plan: Plan = { ...waiting.plan, budgetMs: left };
    const { handoff, head } = waiting;
    const message: ToEngine = {
      type: 'stream',
      handoff,
      plan,
      head,
      sentAt: monotonicMs(),
    };
    engine.send(message, travelling(waiting.socket), { keepOpen: true }, (error) => {
      // A closed channel: the exit of the engine follows and puts the socket back into the queue.
      if (error !== null && this.#inFlight === waiting && engine.connected) {
        this.#inFlight = undefined;
        this.#refuse(waiting, fail('engine_unavailable', { why: error.message }, error));
        this.#pump();
      }
    });
  }

  #late(waiting: Waiting): void {
    const queued = this.#queue.indexOf(waiting);
    if (queued >= 0) this.#queue.splice(queued, 1);
    this.#taken.delete(waiting.handoff);
    const never = queued >= 0;
    this.#refuse(
      waiting,
      never ? fail('engine_unavailable', { why: 'none became ready in time' }) : fail('engine_stuck'),
    );
    // The slot stays taken: an engine that never acknowledges gets no second socket.
  }

  #refuse(waiting: Waiting, failure: Failure): void {
    waiting.answered();
    waiting.refused = true;
    // The engine may hold a copy: only an end that is said reaches the client.
    refuse(
      waiting.socket,
      { ...failure.data, warnings: warningsOf(waiting.plan) },
      waiting.plan.client.requestId,
    );
    waiting.done(failure);
  }
}
