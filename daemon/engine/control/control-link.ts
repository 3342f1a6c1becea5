// The engine's link to control: sends events and log lines, and asks for the plan of each stream.
import { Server } from 'node:net';
import { VERSION_HEADER } from '../../api/header.ts';
import { notAnswering } from '../../api/instance-file.ts';
import { onSilence } from '../../base/async/deadline.ts';
import { nextTurn } from '../../base/async/turn.ts';
import { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { packageVersion } from '../../base/version.ts';
import { asFailure, fail, revive } from '../../errors/fail.ts';
import { failureIn } from '../../errors/problem.ts';
import type { OneFromEngine, OneToEngine, Resolved } from '../../engine-protocol/messages.ts';
import { isToEngine } from '../../engine-protocol/messages.ts';
import { isPlan } from '../../engine-protocol/plan-shape.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import { httpRequest } from '../../sockets/http-request.ts';
import type { Channel } from './channel.ts';
import { ControlHealth } from './control-health.ts';
import { NextControl, type Following } from './next-control.ts';
import { Outbox } from './outbox.ts';

/** Answers that are handled in one turn of the event loop. */
const ANSWERS_PER_TURN = 8;

type ResolvedMessage = Extract<OneToEngine, { readonly type: 'resolved' }>;
type Question = Extract<OneFromEngine, { readonly type: 'resolve' | 'resolve again' }>;
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

interface Pending {
  readonly answer: (result: Resolved) => void;
  readonly gone: () => void;
}

/** Thrown when control ended before it answered a question. */
class ControlGone extends Error {}

export interface ControlLinkOptions {
  readonly channel: Channel;
  /** Path of the daemon's control socket. When this control process is gone, the next one answers there. */
  readonly controlSocket: string;
  /** Of the control process that has started this engine. Default: the parent of this process. */
  readonly controlPid?: number;
}

export class ControlLink {
  readonly #options: ControlLinkOptions;
  readonly #outbox: Outbox;
  readonly #nextControl: NextControl;
  readonly #health: ControlHealth;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** Number of messages that have come from control. */
  #messages = 0;
  /** Another control process has taken over from one that has not left yet, as one that hangs. */
  #isReplaced = false;

  constructor(options: ControlLinkOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.channel);
    this.#nextControl = new NextControl(options.controlSocket);
    this.#health = new ControlHealth({
      controlSocket: options.controlSocket,
      controlPid: () => options.controlPid ?? process.ppid,
      messages: () => this.#messages,
      isAwaited: () => this.#pending.size > 0,
    });
    options.channel.onGone(() => {
      for (const { gone } of this.#pending.values()) gone();
    });
  }

  /** The control process that has started this engine runs. */
  get isThere(): boolean {
    return this.#options.channel.isOpen();
  }

  /** Sends a message to control. False when control is gone. `sent` gets null when the message has been written, else the error. */
  tell(message: OneFromEngine, sent?: (error: Error | null) => void): boolean {
    return this.#outbox.send(message, sent);
  }

  /** Sends at once all messages that wait to be sent in a batch. */
  flush(): void {
    this.#outbox.flush();
  }

  /** Calls `listener` with every message of control, except answers to this link's questions. `server` is set for `listen` only. */
  onMessage(
    listener: (message: Exclude<OneToEngine, { type: 'resolved' }>, server: Server | undefined) => void,
  ): void {
    this.#options.channel.onMessage((message, handle) => {
      if (!isToEngine(message)) return;
      this.#messages += 1;
      const answers: ResolvedMessage[] = [];
      for (const one of message.type === 'batch' ? message.messages : [message]) {
        if (one.type === 'resolved') answers.push(one);
        else listener(one, handle instanceof Server ? handle : undefined);
      }
      void this.#take(answers);
    });
  }

  /** A few in each turn of the event loop: what follows takes up to a millisecond for each, and a flood has hundreds. Never rejects. */
  async #take(answers: readonly ResolvedMessage[]): Promise<void> {
    for (const [at, { id, result }] of answers.entries()) {
      if (at > 0 && at % ANSWERS_PER_TURN === 0) await nextTurn();
      this.#pending.get(id)?.answer(result);
    }
  }

  /**
   * Asks control for the plan of one request; no plan is used for two requests. While control is away, waits for the next control
   * process, for `LIMITS.awayMs` at most; `onAway` is told. An answer takes at most `budgetMs`. Rejects with control's failure,
   * `control_unavailable`, `out_of_time`, `daemon_not_answering`, or the reason of `signal`.
   */
  async plan(
    requestId: string,
    header: string | undefined,
    options: { readonly budgetMs: number; readonly signal: AbortSignal; readonly onAway: () => void },
  ): Promise<Plan> {
    const { budgetMs, signal, onAway } = options;
    let until = performance.now() + budgetMs;
    let away: { readonly until: number; readonly following: Following } | undefined;
    const question = { type: 'resolve' as const, requestId, ...(header === undefined ? {} : { header }) };
    try {
      for (;;) {
        try {
          const left = Math.max(1, until - performance.now());
          const result =
            this.isThere && !this.#isReplaced
              ? await this.#ask(question, left, signal)
              : await this.#askNextControl(requestId, header, left, signal);
          if ('plan' in result) return result.plan;
          if (!('failure' in result))
            throw fail('internal', { why: 'control answered a request without a plan' });
          // This control process is ending; another one may start.
          if (result.failure.code === 'stopping') throw new ControlGone('control is leaving');
          throw revive(result.failure);
        } catch (error) {
          if (!(error instanceof ControlGone)) throw error;
          if (away === undefined) onAway();
          away ??= { until: performance.now() + LIMITS.awayMs, following: this.#nextControl.follow() };
          if (performance.now() >= away.until) throw fail('control_unavailable', {}, error);
          await away.following.change(signal);
          until = performance.now() + budgetMs;
        }
      }
    } finally {
      away?.following.end();
    }
  }

  /** Asks control where the share link of a target socket leads now. Undefined when control does not know, or is away. */
  async destinationOf(targetSocket: string): Promise<Destination | undefined> {
    if (!this.#options.channel.isOpen()) return undefined;
    try {
      const result = await this.#ask({ type: 'resolve again', targetSocket }, LIMITS.renewMs);
      return 'destination' in result ? result.destination : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Sends one question and resolves with its answer. Rejects with `out_of_time` after `ms`, or with the reason of `signal`. While there is
   * no answer, it looks at control's health every `LIMITS.silenceMs`: control that hangs is `daemon_not_answering`, since a slow lookup
   * would not block a health request; control that is gone or was replaced is `ControlGone`.
   */
  #ask(question: Without<Question, 'id'>, ms: number, signal?: AbortSignal): Promise<Resolved> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const over = (): void => {
        isOver = true;
        answered();
        clearTimeout(look);
        signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
      };
      const giveUp = (error: Error): void => {
        over();
        this.tell({ type: 'cancel', id });
        reject(error);
      };
      const onAbort = (): void => {
        giveUp(asFailure(signal?.reason));
      };
      const watch = async (): Promise<void> => {
        const health = await this.#health.look();
        if (isOver) return;
        if (health === 'replaced') {
          this.#isReplaced = true;
          giveUp(new ControlGone('another control process has taken over'));
        } else if (health === 'silent') giveUp(notAnswering(this.#options.controlSocket));
        else look = setTimeout(() => void watch(), LIMITS.silenceMs);
      };
      let look = setTimeout(() => void watch(), LIMITS.silenceMs);
      const answered = onSilence(ms, () => {
        giveUp(fail('out_of_time', { ms: Math.round(ms), step: 'bmuxd made the plan' }));
      });
      this.#pending.set(id, {
        answer: (result) => {
          over();
          resolve(result);
        },
        gone: () => {
          over();
          reject(new ControlGone('control is gone'));
        },
      });
      if (signal?.aborted === true) onAbort();
      else {
        signal?.addEventListener('abort', onAbort, { once: true });
        this.tell({ ...question, id });
      }
    });
  }

  /** Asks the next control process over the control socket, since the channel to the former one is closed. `version_mismatch`: it answers in another form. */
  async #askNextControl(
    requestId: string,
    header: string | undefined,
    ms: number,
    signal: AbortSignal,
  ): Promise<Resolved> {
    let answer;
    try {
      answer = await httpRequest({
        socketPath: this.#options.controlSocket,
        method: 'POST',
        path: '/v1/plans',
        headers: {
          'bmux-request-id': requestId,
          ...(header === undefined ? {} : { 'bmux-request': header }),
        },
        timeoutMs: ms,
        signal,
      });
    } catch (error) {
      if (signal.aborted) throw asFailure(signal.reason);
      throw new ControlGone('the next control process does not answer yet', { cause: error });
    }
    const { status, body } = answer;
    if (status === 200) {
      const plan: unknown =
        typeof body === 'object' && body !== null && 'plan' in body ? body.plan : undefined;
      if (isPlan(plan)) return { plan };
      const version = answer.headers[VERSION_HEADER];
      const other =
        typeof version === 'string'
          ? `the control process of bmuxd ${version}`
          : 'a control process of another version';
      throw fail('version_mismatch', { own: `an engine of bmuxd ${packageVersion()}`, other });
    }
    const failure = failureIn(body, status);
    // This control process is ending; another one may start.
    if (failure === undefined || failure.code === 'stopping') throw new ControlGone('control is leaving');
    throw new Failure(failure);
  }
}
