// Notices that a peer no longer acknowledges what is sent to it. The kernel alone gives such a connection up after about 15 min, and Node cannot
// set TCP_USER_TIMEOUT.
import type { Socket } from 'node:net';
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { inTime } from '../../base/async/deadline.ts';
import { LIMITS } from '../../base/limits.ts';
import { askOften } from './options.ts';
import { familyOf, endsKey, readUnanswered, type SentAgain, type Unanswered } from './table.ts';

export interface TcpWatchOptions {
  /** What the kernel says; undefined where it says nothing. Default: `readUnanswered`. */
  readonly read?: typeof readUnanswered;
  /** ms after which a connection is given up. Default: `LIMITS.tcpUnansweredMs`. */
  readonly limitMs?: number;
  /** Monotonic time, ms. */
  readonly now?: () => number;
  readonly clock?: Pick<Clock, 'after' | 'every'>;
}

/** A connection that may be given up. */
export interface WatchedConnection {
  /** Its key in the table (`endsKey`); undefined when it is not connected, or not found yet: the kernel is not asked about it then. */
  readonly key: string | undefined;
  readonly family: 4 | 6;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly isClosed: boolean;
  giveUp(error: Error): void;
  /** Has the kernel ask a peer whose window is full often, or as usual. Missing for a socket of another process, which alone can. */
  askOften?(isOften: boolean): void;
}

/** The state of one connection. */
interface Watched {
  readonly connection: WatchedConnection;
  /** Bytes read at the last look. */
  heard: number;
  /** The last look before that number was seen to grow. */
  heardAfter: number;
  /** Bytes written of which is known that the peer has acknowledged them, or has answered. */
  written: number;
  /** Bytes written at the last look, if the kernel then knew of none without an answer. One read of its table may miss a row. */
  missed: number | undefined;
  /** Bytes written at the last look. */
  writtenBefore: number;
  /** How often the kernel had sent again at the last look: fewer times than before tell that the peer has acknowledged meanwhile. */
  times: number;
  /** Whether the last look found bytes without an answer. */
  waited: boolean;
  /** Whether the peer's window was full at the last look, so that it is asked often. */
  isFull: boolean;
  /** When the bytes were sent that, at every look since, had no answer. */
  unansweredSince: number | undefined;
}

/** ms between two looks. */
const LOOK_MS = 2000;
/** A look that comes later than this was not made for a while: the machine slept, or this process did not run. */
const LATE_MS = 5000;
/**
 * Times that the kernel must have sent again, at least. With a long round trip the pauses between them are long too, and the limit is
 * reached later.
 */
const SENT_AGAIN = 4;
/** ms for the end of our side to reach the kernel, which goes on sending it: a gateway that comes back should see a proper end. */
const END_MS = 1000;

export class TcpWatch {
  readonly #read: typeof readUnanswered;
  readonly #limitMs: number;
  readonly #now: () => number;
  readonly #clock: Pick<Clock, 'after' | 'every'>;
  readonly #watched = new Set<Watched>();
  #stopLooking: (() => void) | undefined;
  /** Cancels the look at the time when a connection may be given up. */
  #cancelExtra: (() => void) | undefined;
  #lookedAt: number;
  #looking = false;

  constructor({
    read = readUnanswered,
    limitMs = LIMITS.tcpUnansweredMs,
    now = () => performance.now(),
    clock = SYSTEM_CLOCK,
  }: TcpWatchOptions = {}) {
    this.#read = read;
    this.#limitMs = limitMs;
    this.#now = now;
    this.#clock = clock;
    this.#lookedAt = now();
  }

  /** Watches a connected socket until it is closed. A socket that is given up gets an error with the code ETIMEDOUT. */
  add(socket: Socket): void {
    socket.once('close', this.addConnection(new SocketConnection(socket)));
  }

  /** Watches `connection` until the function that is returned is called, or it is given up. */
  addConnection(connection: WatchedConnection): () => void {
    const { bytesRead, bytesWritten } = connection;
    const watched: Watched = {
      connection,
      heard: bytesRead,
      heardAfter: this.#now(),
      written: bytesWritten,
      missed: undefined,
      times: 0,
      writtenBefore: bytesWritten,
      waited: false,
      isFull: false,
      unansweredSince: undefined,
    };
    this.#watched.add(watched);
    if (this.#stopLooking === undefined) {
      this.#lookedAt = this.#now();
      this.#stopLooking = this.#clock.every(LOOK_MS, () => void this.look());
    }
    return () => {
      this.#remove(watched);
    };
  }

  #remove(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    this.#stopLooking?.();
    this.#stopLooking = undefined;
    this.#cancelExtra?.();
    this.#cancelExtra = undefined;
  }

  /** Asks the kernel about the connections that wait for an answer. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#look();
    } finally {
      this.#looking = false;
    }
  }

  async #look(): Promise<void> {
    const now = this.#now();
    const before = this.#lookedAt;
    const isLate = now - before > LATE_MS;
    this.#lookedAt = now;
    for (const watched of this.#watched) if (isLate) forget(watched, now);
    const waiting: Watched[] = [];
    for (const watched of this.#watched) {
      const isWaiting = waits(watched, isLate ? now : before) && watched.connection.key !== undefined;
      if (isWaiting) waiting.push(watched);
      else full(watched, false);
    }
    if (waiting.length === 0) return;
    const written = waiting.map(({ connection }) => connection.bytesWritten);
    const unanswered = await this.#unanswered(waiting);
    if (unanswered === undefined) return;
    let next = LOOK_MS;
    for (const [index, watched] of waiting.entries()) {
      const sent = unanswered.get(watched.connection.key ?? '');
      const { missed } = watched;
      watched.missed = sent === undefined ? written[index] : undefined;
      if (sent === undefined && missed === undefined) continue;
      full(watched, sent?.isFull === true);
      if (sent === undefined) watched.written = missed ?? watched.written;
      const times = sent?.times ?? 0;
      if (times < watched.times || times === 0) watched.unansweredSince = undefined;
      watched.times = times;
      if (sent === undefined || times === 0) continue;
      watched.unansweredSince = unansweredSince(watched, sent, now);
      const ms = now - watched.unansweredSince;
      const left = this.#limitMs - ms;
      if (left > 0) next = Math.min(next, left);
      if (times < SENT_AGAIN || left > 0) continue;
      this.#remove(watched);
      const why = `the peer has acknowledged nothing for ${String(Math.round(ms / 1000))} s`;
      watched.connection.giveUp(Object.assign(new Error(why), { code: 'ETIMEDOUT' }));
    }
    // A limit that is reached before the next regular look has a look of its own.
    this.#cancelExtra?.();
    this.#cancelExtra =
      next < LOOK_MS && this.#watched.size > 0 ? this.#clock.after(next, () => void this.look()) : undefined;
  }

  async #unanswered(waiting: readonly Watched[]): Promise<Unanswered | undefined> {
    const families = new Set(waiting.map(({ connection }) => connection.family));
    const signal = AbortSignal.timeout(LIMITS.fileReadMs);
    const late = (): Error => new Error('late');
    return inTime(this.#read(families, signal), LIMITS.fileReadMs, late).catch(() => undefined);
  }
}

/** A socket of this process. */
class SocketConnection implements WatchedConnection {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get key(): string | undefined {
    return endsKey(this.#socket);
  }

  get family(): 4 | 6 {
    return familyOf(this.#socket);
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  get bytesWritten(): number {
    return this.#socket.bytesWritten;
  }

  get isClosed(): boolean {
    return this.#socket.destroyed;
  }

  askOften(isOften: boolean): void {
    askOften(this.#socket, isOften);
  }

  giveUp(error: Error): void {
    const socket = this.#socket;
    if (socket.writableEnded || socket.writableLength > 0) {
      socket.destroy(error);
      return;
    }
    const cut = setTimeout(() => socket.destroy(error), END_MS);
    socket.end(() => {
      clearTimeout(cut);
      socket.destroy(error);
    });
  }
}

/**
 * True when the peer may not have taken everything that was written before the last look, as the last look found, too. The kernel is not asked
 * about what was written just now, as by a check of a spare: its table takes long to read, and tells later, too, when bytes were sent.
 */
function waits(watched: Watched, before: number): boolean {
  const { connection, writtenBefore } = watched;
  watched.writtenBefore = connection.bytesWritten;
  if (connection.bytesRead !== watched.heard) {
    watched.heard = connection.bytesRead;
    watched.heardAfter = before;
    // What was written after the last look may have come after the answer.
    watched.written = writtenBefore;
    watched.missed = undefined;
    watched.unansweredSince = undefined;
    watched.waited = false;
    return false;
  }
  const { waited } = watched;
  watched.waited = !connection.isClosed && writtenBefore > watched.written;
  return waited && watched.waited;
}

/**
 * When the oldest bytes without an answer were sent, as far as the peer was not heard since. Where the kernel does not tell it: before they were
 * sent again, at most one look ago.
 */
function unansweredSince(watched: Watched, { ms }: SentAgain, now: number): number {
  if (ms === undefined) return watched.unansweredSince ?? Math.max(watched.heardAfter, now - LOOK_MS);
  return Math.max(watched.heardAfter, now - ms);
}

/** A vanished peer is noticed only by questions without an answer. */
function full(watched: Watched, isFull: boolean): void {
  if (watched.isFull === isFull) return;
  watched.isFull = isFull;
  watched.connection.askOften?.(isFull);
}

/** The time before `now` does not count. */
function forget(watched: Watched, now: number): void {
  watched.unansweredSince = undefined;
  watched.heardAfter = now;
}
