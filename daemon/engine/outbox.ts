// What the engine tells control. What can wait goes with the next message that cannot, since each costs both processes a system call and
// a waking: 27 µs of the engine's 300 for a hand-off [measured].
import type { Channel } from './channel.ts';
import { ROUTINE_EVENTS } from '../api/answers.ts';
import type { OneFromEngine } from '../engine-protocol/messages.ts';

/** Called when the message has left, or with why it could not. */
type Sent = (error: Error | null) => void;

/** ms that a message waits for company. */
const WAIT_MS = 2;
/** Messages that leave together at most. */
const MAX_TOGETHER = 64;
/** Sendings that control has not read yet, as one that is stopped does not: beyond them no event is told that can be left out. */
const MAX_UNREAD = 1000;

/**
 * The rest must leave at once: the next socket waits for `taken`; `settled` must be said before the client has its answer, or another engine
 * might answer it again; and whoever was refused may ask for the reason in the next moment.
 */
function canWait(message: OneFromEngine): boolean {
  return message.type === 'log' || (message.type === 'event' && ROUTINE_EVENTS.has(message.event.type));
}

export class Outbox {
  readonly #channel: Channel;
  readonly #together: boolean;
  #waiting: OneFromEngine[] = [];
  #told: Sent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #unread = 0;

  /** `together`: control reads several in one (EngineStart). */
  constructor(channel: Channel, together: boolean) {
    this.#channel = channel;
    this.#together = together;
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
    if (!this.#together || !canWait(message) || this.#waiting.length >= MAX_TOGETHER) this.flush();
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
    else
      this.#channel.send(more.length === 0 ? first : { type: 'together', messages: [first, ...more] }, sent);
  }
}
