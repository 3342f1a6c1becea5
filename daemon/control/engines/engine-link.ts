// Control's link to one engine: sends messages to its process, answers its questions, and detects its end.
import type { ChildProcess } from 'node:child_process';
import type { Server } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import { watchCpu } from '../../base/process/starved.ts';
import { LIMITS } from '../../base/limits.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import { isTally, type Tally } from '../../api/metrics/tally.ts';
import type { Settings } from '../../config/settings/table.ts';
import {
  isFromEngine,
  type EngineStart,
  type ListenFor,
  type OneFromEngine,
  type OneToEngine,
  type Resolved,
  type TargetSocketPlan,
  type ToEngine,
} from '../../engine-protocol/messages.ts';
import type { Destination, Plan } from '../../engine-protocol/plan.ts';
import { asFailure, fail } from '../../errors/fail.ts';

/** The part of `ChildProcess` that the link uses. */
export type EngineProcess = Pick<
  ChildProcess,
  'pid' | 'connected' | 'send' | 'on' | 'once' | 'kill' | 'disconnect' | 'unref'
>;

/** Called for the messages and questions of an engine. */
export interface EngineHandlers {
  readonly onReady: () => void;
  /** The engine accepts no more streams, and finishes those that it has. */
  readonly onRetiring: (why: string) => void;
  /** The process has ended, and all its messages have been read. Called once. */
  readonly onGone: (why: string) => void;
  /** The engine's status, which it sends regularly. */
  readonly onAlive: (status: unknown) => void;
  readonly onEvent: (event: BrokerEvent) => void;
  readonly onTally: (tally: Tally) => void;
  /** Log lines, each with its newline. */
  readonly onLog: (lines: string) => void;
  /** An 'error' event of the process, for the log. */
  readonly onProcessError: (error: Error) => void;
  /** The plan of a request for a stream. The signal of `signalOf` aborts when the plan is no longer needed. */
  readonly resolve: (
    requestId: string,
    header: string | undefined,
    signalOf: () => AbortSignal,
  ) => Promise<Plan>;
  /** Where a target socket leads now; undefined when no destination is known. */
  readonly resolveAgain: (targetSocket: string) => Promise<Destination | undefined>;
}

/** A question of the engine that has no answer yet. */
interface Question {
  /** Why the answer is no longer needed; undefined while it is. */
  over: Failure | undefined;
  /** Made at the first call of `signalOf`, because it takes as long as most plans: 20 µs [measured]. */
  abort: AbortController | undefined;
}

interface Listening {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** The states of the link: starting -> ready -> gone. Which engine is the current one is known to the supervisor only. */
export class EngineLink {
  readonly generation: string;
  readonly pid: number | undefined;
  #messages = 0;
  readonly #process: EngineProcess;
  readonly #handlers: EngineHandlers;
  readonly #questions = new Map<number, Question>();
  readonly #listening = new Map<number, Listening>();
  #answers: OneToEngine[] = [];
  #turn: NodeJS.Immediate | undefined;
  #nextId = 1;
  #ready = false;
  #gone = false;

  constructor(process: EngineProcess, start: EngineStart, handlers: EngineHandlers) {
    this.generation = start.generation;
    this.pid = process.pid;
    this.#process = process;
    this.#handlers = handlers;
    process.on('message', (message) => {
      this.#messages += 1;
      if (isFromEngine(message)) this.#onMessage(message);
    });
    process.on('error', (error) => {
      handlers.onProcessError(error);
      // Without a pid the process was never started, and no 'exit' follows.
      if (process.pid === undefined) this.#end(textOf(error));
    });
    process.once('exit', (status: number | null, signal: NodeJS.Signals | null) => {
      const why = signal ?? `exit status ${String(status)}`;
      // The channel may still hold the last messages of the engine. They have been read at 'disconnect'.
      if (process.connected) process.once('disconnect', () => this.#end(why));
      else this.#end(why);
    });
    this.tell({ type: 'start', start });
  }

  /** True when the engine has started and has not ended. */
  get ready(): boolean {
    return this.#ready && !this.#gone;
  }

  /** True when the engine has started, even if it has ended since. */
  get wasReady(): boolean {
    return this.#ready;
  }

  /** Sends a message. Does nothing when the engine is gone. */
  tell(message: OneToEngine): void {
    this.#flush();
    this.#send(message);
  }

  #send(message: ToEngine): void {
    // A failure to send is ignored, since the 'exit' event follows it.
    if (this.#process.connected) this.#process.send(message, ignore);
  }

  /** Answers of one turn of the event loop are sent together: each send costs both processes a system call and a wake-up. */
  #tellSoon(answer: OneToEngine): void {
    this.#answers.push(answer);
    this.#turn ??= setImmediate(() => {
      this.#flush();
    });
  }

  #flush(): void {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    const [first, ...more] = this.#answers;
    this.#answers = [];
    if (first !== undefined)
      this.#send(more.length === 0 ? first : { type: 'batch', messages: [first, ...more] });
  }

  configure(settings: Settings): void {
    this.tell({ type: 'settings', settings });
  }

  /**
   * Makes the engine accept on a socket that control has bound, and resolves when it does. Rejects with `engine_unavailable` when the
   * engine has ended or does not answer within `LIMITS.engineAnswerMs`, or with the reason of `signal`.
   */
  listen(socket: ListenFor, server: Server, signal?: AbortSignal): Promise<void> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const over = (): void => {
        answered();
        signal?.removeEventListener('abort', onAbort);
        this.#listening.delete(id);
      };
      const onAbort = (): void => {
        over();
        reject(asFailure(signal?.reason));
      };
      const refuse = (why: string): void => {
        over();
        reject(fail('engine_unavailable', { why }));
      };
      const answered = onSilence(LIMITS.engineAnswerMs, () => {
        refuse('it does not accept on its sockets');
      });
      this.#listening.set(id, {
        resolve: () => {
          over();
          resolve();
        },
        reject: (error) => {
          over();
          reject(error);
        },
      });
      if (signal?.aborted === true) onAbort();
      else if (!this.#process.connected) refuse('it is gone');
      else {
        signal?.addEventListener('abort', onAbort, { once: true });
        this.#flush();
        this.#process.send({ type: 'listen', id, socket } satisfies OneToEngine, server, ignore);
      }
    });
  }

  /** True while it has not answered to each socket that it was sent. */
  get isGettingSockets(): boolean {
    return this.#listening.size > 0;
  }

  /** Replaces where a target socket leads. */
  update(targetSocket: string, plan: TargetSocketPlan): void {
    this.tell({ type: 'target socket', targetSocket, ...plan });
  }

  /** From now on. Tells whether it has sent something since or, if `isDoubtful`, would work and gets no CPU: thirty files are read for that. */
  watchWork(isDoubtful: boolean): () => boolean {
    const [messages, waits] = [this.#messages, watchCpu(isDoubtful ? this.pid : undefined)];
    return () => this.#messages > messages || waits();
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Closes the channel: the engine drains, and exits after its last stream. Control's process does not wait for it. */
  release(): void {
    if (this.#process.connected) this.#process.disconnect();
    this.#process.unref();
  }

  #onMessage(
    message: OneFromEngine | { readonly type: 'batch'; readonly messages: readonly OneFromEngine[] },
  ): void {
    const handlers = this.#handlers;
    switch (message.type) {
      case 'batch':
        for (const one of message.messages) this.#onMessage(one);
        break;
      case 'ready':
        this.#ready = true;
        handlers.onReady();
        break;
      case 'listening':
        this.#listening.get(message.id)?.resolve();
        break;
      case 'resolve': {
        const { id, requestId, header } = message;
        this.#answer(id, async (signalOf) => ({ plan: await handlers.resolve(requestId, header, signalOf) }));
        break;
      }
      case 'resolve again':
        this.#answer(message.id, async () => {
          const destination = await handlers.resolveAgain(message.targetSocket);
          if (destination === undefined)
            throw fail('engine_unavailable', { why: 'no other destination is known' });
          return { destination };
        });
        break;
      case 'cancel':
        this.#giveUp(message.id, fail('stream_ended', { id: 'that was asked for', who: 'its client' }));
        break;
      case 'retiring':
        handlers.onRetiring(message.why);
        break;
      case 'alive':
        handlers.onAlive(message.status);
        break;
      case 'event':
        handlers.onEvent(message.event);
        break;
      case 'tally':
        if (isTally(message.tally)) handlers.onTally(message.tally);
        break;
      case 'log':
        handlers.onLog(message.line);
        break;
    }
  }

  #answer(id: number, work: (signalOf: () => AbortSignal) => Promise<Resolved>): void {
    const question: Question = { over: undefined, abort: undefined };
    this.#questions.set(id, question);
    const signalOf = (): AbortSignal => {
      question.abort ??= new AbortController();
      if (question.over !== undefined) question.abort.abort(question.over);
      return question.abort.signal;
    };
    work(signalOf)
      .catch((error: unknown): Resolved => ({ failure: asFailure(error).data }))
      .then((result) => {
        this.#questions.delete(id);
        if (question.over === undefined) this.#tellSoon({ type: 'resolved', id, result });
      }, ignore);
  }

  #giveUp(id: number, why: Failure): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    question.over ??= why;
    question.abort?.abort(why);
  }

  #end(why: string): void {
    if (this.#gone) return;
    this.#gone = true;
    for (const id of this.#questions.keys()) this.#giveUp(id, fail('engine_lost', { why }));
    for (const { reject } of this.#listening.values()) reject(fail('engine_unavailable', { why }));
    this.#handlers.onGone(why);
  }
}

function ignore(): void {
  // The engine is gone, and its 'exit' event is handled.
}
