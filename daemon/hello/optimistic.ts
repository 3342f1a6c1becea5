// A stream that is handed out on a promise: what opens it (a Hello, or a Ping on a spare) and the client's request leave in one flight, the
// server's answer to it is compared and swallowed.
import { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { textOf, type Failure } from '../base/failure.ts';
import { takeBuffered } from '../base/streams/take-buffered.ts';
import { endGracefully } from '../transport/end.ts';
import { fail, revive } from '../errors/fail.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { Negotiated } from './handshake.ts';
import { ExpectedAnswer, sameAnswer, type Opening } from './expected-answer.ts';
import { ReplayLog } from './replay.ts';

type Done = (error?: Error | null) => void;

/** A fresh stream whose Hello has really been answered, with what it negotiated. */
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
  /** What the client has been told. */
  readonly expected: Negotiated;
  /** ms that the server's answer may take: max(1 s, 4 round trips), and no more than a dial may take. */
  readonly answerMs: number;
  /** The target's name, for the text of a time-out. */
  readonly label: string;
  /** The promise was kept, after so many ms. */
  readonly onConfirmed: (elapsedMs: number) => void;
  /** It was not. Called once, before anything else happens, so that the next caller is told the truth. */
  readonly onFailed: (failure: Failure) => void;
  /** For what may be replayed. Bounded in time by itself; aborted when nobody waits for it any more. */
  readonly reopen: (signal: AbortSignal) => Promise<Reopened>;
  /** Ends a stream gracefully, in the background; called once for each. */
  readonly end?: (stream: Duplex) => void;
}

/**
 * Lifecycle: promised -> confirmed | replacing -> confirmed, and from each of them -> destroyed. Until it is confirmed nothing reaches
 * the reader, and what the client sends is kept for a replay as long as it only looks. There is an inner stream in every state but
 * `replacing` and destroyed; whatever happens, each inner stream is ended gracefully, once.
 */
export class OptimisticStream extends Duplex {
  readonly #options: OptimisticOptions;
  readonly #answer: ExpectedAnswer;
  readonly #since = performance.now();
  readonly #gone = new AbortController();
  /** Ends the wait for the server's answer. */
  readonly #answered: () => void;
  #state: 'promised' | 'replacing' | 'confirmed' = 'promised';
  #inner: Duplex | undefined;
  #innerEnded = false;
  /** The reader wants more: `_read` was called and push has not said stop since. */
  #wanted = false;
  /** What has been forwarded so far; undefined once nobody may ask for it again. */
  #log: ReplayLog | undefined = new ReplayLog();
  /** A write whose bytes the inner stream has, but has not let go of yet. */
  #writing: Done | undefined;
  /** A write that came while there was no inner stream. */
  #held: { readonly chunks: readonly Buffer[]; readonly done: Done } | undefined;
  /** The client has ended its side; `#ending` until that has been passed on. */
  #ended = false;
  #ending: Done | undefined;

  constructor(options: OptimisticOptions) {
    const { inner, epoch, opening, answerMs, label } = options;
    super({
      allowHalfOpen: true,
      readableHighWaterMark: inner.readableHighWaterMark,
      writableHighWaterMark: inner.writableHighWaterMark,
    });
    this.#options = options;
    this.#answer = new ExpectedAnswer(epoch, opening);
    // Between two owners an error must not end the process; 'close' follows it.
    this.on('error', ignore);
    this.#answered = onSilence(answerMs, () => {
      this.#fail(opening.late(label, Math.round(answerMs)));
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
    this.#send([chunk], done);
  }

  override _writev(queued: { chunk: Buffer; encoding: BufferEncoding }[], done: Done): void {
    this.#send(
      queued.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: Done): void {
    this.#ended = true;
    this.#ending = done;
    this.#passEnd();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#answered();
    this.#gone.abort();
    this.#log = undefined;
    // Never cut: a gateway loses a place of its server for every stream that is (spec/wire.md §5, §6).
    this.#releaseInner();
    const cause = error ?? cancelled();
    const { done: held } = this.#held ?? {};
    this.#held = undefined;
    held?.(cause);
    this.#written(cause);
    this.#endPassed(cause);
    done(error);
  }

  #send(chunks: readonly Buffer[], done: Done): void {
    const inner = this.#inner;
    if (inner === undefined) {
      this.#held = { chunks, done };
      return;
    }
    this.#log?.add(chunks);
    // Nobody is there to read it, and the client will be told so by the end that it has yet to read.
    if (inner.destroyed || inner.writableEnded) {
      done();
      return;
    }
    this.#pass(inner, chunks, done);
  }

  /** Done only when `inner` has let go of the last chunk, whose memory may be used for something else then. */
  #pass(inner: Duplex, chunks: readonly Buffer[], done: Done): void {
    // First of all, since a write may be the end of this stream.
    this.#writing = done;
    const passed = (error?: Error | null): void => {
      if (!error && this.#writing === done) this.#written();
    };
    if (chunks.length > 1) inner.cork();
    chunks.forEach((chunk, at) => inner.write(chunk, at === chunks.length - 1 ? passed : undefined));
    if (chunks.length > 1) inner.uncork();
  }

  #written(error?: Error): void {
    const done = this.#writing;
    this.#writing = undefined;
    done?.(error);
  }

  #passEnd(): void {
    const inner = this.#inner;
    if (inner === undefined) return;
    if (inner.destroyed || inner.writableFinished) this.#endPassed();
    else inner.end();
  }

  #endPassed(error?: Error): void {
    const done = this.#ending;
    this.#ending = undefined;
    done?.(error);
  }

  #adopt(inner: Duplex): void {
    this.#inner = inner;
    inner.on('data', this.#onData);
    inner.on('end', this.#onEnd);
    inner.on('error', this.#onError);
    inner.on('close', this.#onClose);
    inner.on('finish', this.#onFinish);
    // What happened before there was a listener is not told again.
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
    const verdict = this.#answer.push(chunk);
    if (verdict.type === 'broken') this.#fail(verdict.failure);
    if (verdict.type !== 'kept') return;
    this.#confirmed();
    this.#options.onConfirmed(performance.now() - this.#since);
    if (verdict.rest.length > 0) this.#pushToReader(verdict.rest);
  };

  #pushToReader(chunk: Buffer): void {
    this.#wanted = false;
    if (this.push(chunk)) this.#wanted = true;
    // There is none when whoever got the chunk has destroyed this: then it is read to its end by others.
    if (!this.#wanted) this.#inner?.pause();
  }

  #confirmed(): void {
    this.#state = 'confirmed';
    this.#log = undefined;
    this.#answered();
  }

  readonly #onFinish = (): void => {
    this.#endPassed();
  };

  readonly #onEnd = (): void => {
    this.#innerEnded = true;
    if (this.#state === 'confirmed') this.push(null);
    else this.#fail(closedEarly());
  };

  readonly #onError = (error: Error): void => {
    if (this.#state === 'confirmed') {
      // Whoever reads a broken stream to its last byte must find that here.
      if (this.#inner !== undefined) for (const chunk of takeBuffered(this.#inner)) this.push(chunk);
      this.destroy(error);
    } else this.#fail(fail('optimistic_open_failed', { why: textOf(error) }, error));
  };

  readonly #onClose = (): void => {
    if (this.#state !== 'confirmed') {
      this.#fail(closedEarly());
      return;
    }
    this.#written();
    this.#endPassed();
    // After its end the inner stream may close while bytes still wait here for the reader: those must not be lost.
    if (!this.#innerEnded || this.readableEnded) this.destroy();
    else this.once('end', () => this.destroy());
  };

  #fail(failure: Failure): void {
    if (this.#state !== 'promised' || this.destroyed) return;
    this.#state = 'replacing';
    this.#answered();
    this.#options.onFailed(failure);
    const sent = this.#log?.harmless(this.#options.epoch);
    this.#log = undefined;
    this.#releaseInner();
    if (sent === undefined) {
      this.destroy(failure);
      return;
    }
    this.#reopen().then(
      (fresh) => {
        this.#replace(fresh, sent, failure);
      },
      (error: unknown) => {
        const causes = [...failure.data.causes, textOf(error)].slice(0, 8);
        this.destroy(revive({ ...failure.data, causes }));
      },
    );
  }

  /** Async, so that whatever it throws is a rejection. */
  async #reopen(): Promise<Reopened> {
    return this.#options.reopen(this.#gone.signal);
  }

  #replace({ stream, candidate, negotiated }: Reopened, sent: Buffer, failure: Failure): void {
    this.#innerEnded = false;
    this.#adopt(stream);
    const { epoch, expected } = this.#options;
    if (this.destroyed || candidate.epoch !== epoch || !sameAnswer(negotiated, expected)) {
      // The client holds a promise that nobody can keep: it must ask again.
      this.#releaseInner();
      this.destroy(failure);
      return;
    }
    this.#confirmed();
    const held = this.#held;
    this.#held = undefined;
    const writing = this.#writing;
    if (sent.length === 0) this.#written();
    else if (writing === undefined) stream.write(sent);
    else this.#pass(stream, [sent], writing);
    if (held !== undefined) this.#send(held.chunks, held.done);
    if (this.#ended) this.#passEnd();
    if (this.#wanted) stream.resume();
  }
}

function closedEarly(): Failure {
  return fail('optimistic_open_failed', { why: 'the server closed without an answer' });
}

/** What Node says to a write that was still under way. */
function cancelled(): Error {
  return Object.assign(new Error('the stream was destroyed before the write was done'), {
    code: 'ERR_STREAM_DESTROYED',
  });
}

function ignore(): void {
  // See where it is used.
}
