// An optimistic stream sends the opening (a Hello, or a Ping on a spare) and the client's request together. The server's answer to the opening
// is compared with the expected one, and is not passed to the client (docs/decisions/optimistic-hello.md).
import { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { Failure, textOf } from '../base/failure.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { endGracefully } from '../transport/end.ts';
import { SshEnd } from '../transport/ssh/failures.ts';
import { fail, revive } from '../errors/fail.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { Negotiated } from './handshake.ts';
import { ExpectedAnswer, sameAnswer, type Opening } from './expected-answer.ts';
import { ClientWrites, type Done } from './client-writes.ts';
import type { Undelivered } from './replay.ts';

/** A new stream whose Hello the server has answered, with what it negotiated. */
export interface Reopened {
  readonly stream: Duplex;
  readonly candidate: { readonly epoch: Epoch };
  readonly negotiated: Negotiated;
}

export interface OptimisticOptions {
  /** An authenticated stream in the right compression. */
  readonly inner: Duplex;
  readonly epoch: Epoch;
  readonly opening: Opening;
  /** The answer that the client has been given. */
  readonly expected: Negotiated;
  /** ms after which the answer is late: max(1 s, 4 round trips). What the client has sent is then sent on a new stream, if it may be. */
  readonly answerMs: number;
  /** ms that the answer may take where it may not be. A connection that is dead fails earlier: its owner notices. */
  readonly limitMs: number;
  /** True for a client that learns why it gets no answer only by an answer. */
  readonly toldByAnswer?: boolean;
  /** The target's name, for the text of a timeout. */
  readonly label: string;
  /** Called when the expected answer has come. `elapsedMs` is the time since the opening. */
  readonly onConfirmed: (elapsedMs: number) => void;
  /** Called when the answer is late, and is waited for. */
  readonly onLate?: () => void;
  /** Called once when the expected answer has not come. It is called first, so that the next caller is not given the same answer. */
  readonly onFailed: (failure: Failure) => void;
  /** Opens a new stream for a replay. It has a time limit; `signal` aborts when this stream is destroyed. */
  readonly reopen: (signal: AbortSignal) => Promise<Reopened>;
  /** Ends a stream gracefully, in the background; called once for each. */
  readonly end?: (stream: Duplex) => void;
}

/**
 * Lifecycle: unconfirmed -> confirmed | replacing -> confirmed, and from each of them -> destroyed. Until it is confirmed, the reader gets no
 * byte, and what the client sends is recorded for a replay. There is an inner stream in every state but `replacing` and destroyed. Each inner
 * stream is ended gracefully, once.
 */
export class OptimisticStream extends Duplex {
  readonly #options: OptimisticOptions;
  readonly #answer: ExpectedAnswer;
  readonly #since = performance.now();
  readonly #gone = new AbortController();
  /** Ends the wait for the server's answer. */
  #answered: () => void;
  #state: 'unconfirmed' | 'replacing' | 'confirmed' = 'unconfirmed';
  #inner: Duplex | undefined;
  #innerEnded = false;
  /** The reader wants more: `_read` was called, and `push` has not returned false since. */
  #wanted = false;
  /** The client has bytes of the server: nothing is sent again. */
  #hasAnswered = false;
  readonly #writes = new ClientWrites();

  constructor(options: OptimisticOptions) {
    const { inner, epoch, opening, answerMs } = options;
    super({
      allowHalfOpen: true,
      readableHighWaterMark: inner.readableHighWaterMark,
      writableHighWaterMark: inner.writableHighWaterMark,
    });
    this.#options = options;
    this.#answer = new ExpectedAnswer(epoch, opening);
    // An error before the client has a listener must not end the process. 'close' follows it.
    this.on('error', ignore);
    this.#answered = onSilence(answerMs, () => {
      this.#late();
    });
    this.#adopt(inner);
    if (opening.bytes.length > 0) inner.write(opening.bytes);
    inner.resume();
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#state === 'confirmed') this.#inner?.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#writes.write(this.#inner, [chunk], done);
  }

  override _writev(queued: { chunk: Buffer; encoding: BufferEncoding }[], done: Done): void {
    const chunks = queued.map(({ chunk }) => chunk);
    this.#writes.write(this.#inner, chunks, done);
  }

  override _final(done: Done): void {
    this.#writes.end(this.#inner, done);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#answered();
    this.#gone.abort();
    // The inner stream is ended and not cut: a gateway loses a connection of its server with every cut stream (docs/bmux-protocol.md, Connection limit).
    this.#releaseInner();
    this.#writes.destroy(error ?? cancelled());
    done(error);
  }

  #adopt(inner: Duplex): void {
    this.#inner = inner;
    inner.on('data', this.#onData);
    inner.on('end', this.#onEnd);
    inner.on('error', this.#onError);
    inner.on('close', this.#onClose);
    inner.on('finish', this.#onFinish);
    // Events that were emitted before the listeners were added are not repeated.
    process.nextTick(() => {
      if (this.#inner === inner && inner.readableEnded) this.#onEnd();
      if (this.#inner === inner && inner.closed) this.#onClose();
    });
  }

  /** Takes the listeners off the inner stream and ends it. */
  #releaseInner(): void {
    const inner = this.#inner;
    if (inner === undefined) return;
    this.#inner = undefined;
    inner.off('data', this.#onData);
    inner.off('end', this.#onEnd);
    inner.off('error', this.#onError);
    inner.off('close', this.#onClose);
    inner.off('finish', this.#onFinish);
    inner.on('error', ignore);
    const { end } = this.#options;
    if (end === undefined) void endGracefully(inner);
    else end(inner);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#state === 'confirmed') {
      this.#pushToReader(chunk);
      return;
    }
    const answer = this.#answer.push(chunk);
    if (answer.type === 'different') this.#fail(answer.failure);
    if (answer.type !== 'expected') return;
    this.#confirmed();
    this.#options.onConfirmed(performance.now() - this.#since);
    if (answer.rest.length > 0) this.#pushToReader(answer.rest);
  };

  #pushToReader(chunk: Buffer): void {
    this.#wanted = false;
    if (!this.#hasAnswered) this.#writes.forgetLog();
    this.#hasAnswered = true;
    if (this.push(chunk)) this.#wanted = true;
    // There is no inner stream when the reader of the chunk has destroyed this one. Then endGracefully reads it to its end.
    if (!this.#wanted) this.#inner?.pause();
  }

  #confirmed(): void {
    this.#state = 'confirmed';
    this.#answered();
  }

  readonly #onFinish = (): void => {
    this.#writes.endPassed();
  };

  readonly #onEnd = (): void => {
    this.#innerEnded = true;
    if (this.#state === 'confirmed') this.push(null);
    else this.#fail(closedEarly());
  };

  readonly #onError = (error: Error): void => {
    const undelivered = error instanceof SshEnd ? error.undelivered : undefined;
    if (this.#state === 'confirmed') {
      // The bytes that were received before the error must still reach the reader.
      if (this.#inner !== undefined) for (const chunk of takeBuffered(this.#inner)) this.#pushToReader(chunk);
      if (this.#hasAnswered || undelivered === undefined) {
        this.#lose(error);
        return;
      }
    }
    this.#fail(fail('optimistic_open_failed', { why: textOf(error) }, error), undelivered);
  };

  readonly #onClose = (): void => {
    if (this.#state !== 'confirmed') {
      this.#fail(closedEarly());
      return;
    }
    this.#writes.written();
    this.#writes.endPassed();
    // The inner stream may close while received bytes are still buffered here. The reader must get them before this stream is destroyed.
    if (!this.#innerEnded || this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  };

  /** A late answer may be that of a slow server. A client whose requests may not be sent again waits for it, since it would lose them. */
  #late(): void {
    const { opening, label, epoch, answerMs, limitMs } = this.#options;
    const giveUp = (ms: number): void => {
      this.#fail(opening.late(label, Math.round(ms)));
    };
    if (limitMs <= answerMs || this.#writes.mayReplay(epoch)) {
      giveUp(answerMs);
      return;
    }
    this.#options.onLate?.();
    this.#answered = onSilence(limitMs - answerMs, () => {
      giveUp(limitMs);
    });
  }

  #fail(failure: Failure, undelivered?: Undelivered): void {
    if (this.#state === 'replacing' || this.destroyed) return;
    this.#state = 'replacing';
    this.#answered();
    this.#options.onFailed(failure);
    const sent = this.#writes.takeLog(this.#options.epoch, undelivered);
    this.#releaseInner();
    if (sent === undefined) {
      this.#lose(failure);
      return;
    }
    this.#reopen().then(
      (fresh) => {
        this.#replace(fresh, sent, failure);
      },
      (error: unknown) => {
        const causes = [...failure.data.causes, textOf(error)].slice(0, 8);
        this.#lose(revive({ ...failure.data, causes }), error instanceof Failure ? error : undefined);
      },
    );
  }

  /** What the client has asked gets no answer of a server. */
  #lose(error: Error, instead?: Failure): void {
    const { epoch, toldByAnswer } = this.#options;
    const why = instead ?? (error instanceof Failure ? error : fail('stream_lost', { why: textOf(error) }));
    if (toldByAnswer === true) for (const answer of this.#writes.refusals(epoch, why)) this.push(answer);
    this.destroy(error);
  }

  /** Async, so that a synchronous error of `reopen` is a rejection. */
  async #reopen(): Promise<Reopened> {
    return this.#options.reopen(this.#gone.signal);
  }

  #replace({ stream, candidate, negotiated }: Reopened, sent: Buffer, failure: Failure): void {
    this.#innerEnded = false;
    this.#adopt(stream);
    const { epoch, expected } = this.#options;
    if (this.destroyed || candidate.epoch !== epoch || !sameAnswer(negotiated, expected)) {
      // The client was given an answer that is not the one of the server, so it must open another stream.
      this.#releaseInner();
      this.#lose(failure);
      return;
    }
    this.#confirmed();
    this.#writes.replay(stream, sent);
    // Undefined when the callback of a write has destroyed this stream.
    this.#writes.passEnd(this.#inner);
    if (this.#wanted) stream.resume();
  }
}

function closedEarly(): Failure {
  return fail('optimistic_open_failed', { why: 'the server closed without an answer' });
}

/** The same error as Node's for a write that was under way. */
function cancelled(): Error {
  return Object.assign(new Error('the stream was destroyed before the write was done'), {
    code: 'ERR_STREAM_DESTROYED',
  });
}

function ignore(): void {
  // The stream is destroyed, and its owner learns that from 'close'.
}
