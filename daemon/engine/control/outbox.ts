// The queue of messages from the engine to control. Messages that are not urgent are sent in one batch with the next urgent one:
// each send costs both processes a system call and a wake-up, about 27 µs [measured].
import type { Channel } from './channel.ts';
import { ROUTINE_EVENTS } from '../../api/answers.ts';
import type { OneFromEngine } from '../../engine-protocol/messages.ts';

/** Called with null when the message has been written, or with the error when it could not be. */
type Sent = (error: Error | null) => void;

/** ms that a message that is not urgent waits for others. */
const WAIT_MS = 2;
/** Messages of one batch at most. */
const MAX_BATCH = 64;
/**
 * Batches that may be unwritten because control does not read, for example while it is stopped. Beyond that, routine events are
 * dropped.
 */
const MAX_UNSENT = 1000;

/** True for messages that are not urgent: log lines and routine events. */
function canWait(message: OneFromEngine): boolean {
  return message.type === 'log' || (message.type === 'event' && ROUTINE_EVENTS.has(message.event.type));
}

/**
 * Questions and refusals of one turn of the event loop are sent together at its end: a flood has many of them. Other urgent messages are sent
 * at once.
 */
function isOfTurn(message: OneFromEngine): boolean {
  const { type } = message;
  if (type === 'event') return message.event.type === 'stream refused';
  return type === 'resolve' || type === 'resolve again' || type === 'cancel';
}

export class Outbox {
  readonly #channel: Channel;
  #waiting: OneFromEngine[] = [];
  #told: Sent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;
  /** Batches that were handed to the channel and are not written yet. */
  #unsent = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Queues a message; messages are sent in the order of the calls. False when control is gone, and `sent` is not called then. */
  send(message: OneFromEngine, sent?: Sent): boolean {
    if (!this.#channel.isOpen()) {
      this.flush();
      return false;
    }
    if (this.#unsent >= MAX_UNSENT && message.type === 'event' && canWait(message)) return true;
    this.#waiting.push(message);
    if (sent !== undefined) this.#told.push(sent);
    if (this.#waiting.length >= MAX_BATCH) this.flush();
    else if (isOfTurn(message)) {
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

  /** Sends all queued messages now. When control is gone, their `sent` callbacks get an error before this returns. */
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
    this.#unsent += 1;
    const sent: Sent = (error) => {
      this.#unsent -= 1;
      for (const tell of told) tell(error);
    };
    if (!this.#channel.isOpen()) sent(new Error('control is gone'));
    else this.#channel.send(more.length === 0 ? first : { type: 'batch', messages: [first, ...more] }, sent);
  }
}
