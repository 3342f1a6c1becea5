// What the engine tells control. What can wait goes in one batch with the next message that cannot: each sending costs both processes a
// system call and a wake-up, some 27 µs [measured].
import type { Channel } from './channel.ts';
import { ROUTINE_EVENTS } from '../api/answers.ts';
import type { OneFromEngine } from '../engine-protocol/messages.ts';

/** Called when the message has left, or with why it could not. */
type Sent = (error: Error | null) => void;

/** ms that a message waits for others. */
const WAIT_MS = 2;
/** Messages of one batch at most. */
const MAX_BATCH = 64;
/** Sendings that control has not read yet, as one that is stopped does not: beyond them no event is told that can be left out. */
const MAX_UNREAD = 1000;

/** Nobody waits for these. */
function canWait(message: OneFromEngine): boolean {
  return message.type === 'log' || (message.type === 'event' && ROUTINE_EVENTS.has(message.event.type));
}

/** A client waits for the answer: those of one turn of the event loop leave together at its end. A refusal leaves at once, before its client has it. */
function isQuestion({ type }: OneFromEngine): boolean {
  return type === 'resolve' || type === 'resolve again' || type === 'cancel';
}

export class Outbox {
  readonly #channel: Channel;
  #waiting: OneFromEngine[] = [];
  #told: Sent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;
  #unread = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** False when control is gone. The order is kept. */
  send(message: OneFromEngine, sent?: Sent): boolean {
    if (!this.#channel.isOpen()) {
      this.flush();
      return false;
    }
    if (this.#unread >= MAX_UNREAD && message.type === 'event' && canWait(message)) return true;
    this.#waiting.push(message);
    if (sent !== undefined) this.#told.push(sent);
    if (this.#waiting.length >= MAX_BATCH) this.flush();
    else if (isQuestion(message)) {
      this.#turn ??= setImmediate(() => {
        this.flush();
      });
    } else if (!canWait(message)) this.flush();
    else {
      this.#timer ??= setTimeout(() => {
        this.flush();
      }, WAIT_MS);
    }
    return true;
  }

  /** What waits leaves now; whoever wants to know hears at once when it cannot. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    clearImmediate(this.#turn);
    this.#turn = undefined;
    const [first, ...more] = this.#waiting;
    if (first === undefined) return;
    const told = this.#told;
    this.#waiting = [];
    this.#told = [];
    this.#unread += 1;
    const sent: Sent = (error) => {
      this.#unread -= 1;
      for (const tell of told) tell(error);
    };
    if (!this.#channel.isOpen()) sent(new Error('control is gone'));
    else this.#channel.send(more.length === 0 ? first : { type: 'batch', messages: [first, ...more] }, sent);
  }
}
