// Joins a client and a remote stream: bytes and half-close in both directions, and a proper end whatever happens to either side.
import type { Duplex } from 'node:stream';
import { SERVER_LOST } from '../api/stream-end.ts';
import { onSilence } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import { onMute } from '../transport/end.ts';
import type { BufferBudget } from './buffer-budget.ts';
import { Flow } from './flow.ts';

/** How a splice ended. `finished`: both sides ended. */
export interface SpliceEnd {
  readonly reason: 'finished' | 'client lost' | 'remote lost' | 'stopped' | 'out of time';
  /** Who requested the end, the first line of the error, or that the server ended first, as a server does that stops. */
  readonly why?: string;
  /** Why the client cannot rely on having everything: the stream broke, was stopped or given up (docs/stream-ends.md). Missing after a proper end. */
  readonly lost?: string;
  /** The longest time, ms, that the client did not read buffered bytes; missing below 1 s. */
  readonly stalledMs?: number;
  /** Sides that did not end in time and were destroyed; for a remote, the server behind a gateway may lose a connection of its limit. */
  readonly cut?: 'client' | 'remote' | 'both';
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface SpliceOptions {
  readonly client: Duplex;
  readonly remote: Duplex;
  /** Bytes buffered for a client that does not read, before back-pressure reaches the server. */
  readonly clientBufferLimit: number;
  /** What all streams together may buffer for their clients. */
  readonly budget?: BufferBudget;
  /** ms for a graceful end. */
  readonly endMs?: number;
  /** ms that a client that has closed its side may wait without a byte from the server, and that it may take to read the remaining bytes. */
  readonly lingerMs?: number;
  /**
   * Called before the client receives the end, with `SpliceEnd.lost` and whether the server ended first; again when it does not get what
   * was left to deliver.
   */
  readonly onEnd?: (lost: string | undefined, byServer: boolean) => void;
}

/** Stalls below this are ordinary back-pressure, ms. */
const STALL_MS = 1000;

/**
 * A bmux server never half-closes: when it has ended and the client has got its last byte, the client's socket is closed both ways, as the
 * kernel does for a server that is gone. A client may half-close.
 *
 * Lifecycle: live -> (one side ended: half) -> ending -> done. A lost client, a lost remote and a stop all go through `#finish`,
 * so that the remote always receives an end (close_notify, finish) and is read to its own end (docs/bmux-protocol.md, "Stream ends").
 */
export class Splice {
  /** Resolves once, never rejects. Both sides are closed by then. */
  readonly done: Promise<SpliceEnd>;
  readonly #client: Duplex;
  readonly #remote: Duplex;
  readonly #up: Flow;
  readonly #down: Flow;
  readonly #endMs: number;
  readonly #lingerMs: number;
  readonly #onEnd: SpliceOptions['onEnd'];
  #resolve: (end: SpliceEnd) => void = () => {};
  #reason: SpliceEnd['reason'] = 'finished';
  #why: string | undefined;
  #lost: string | undefined;
  #cut: SpliceEnd['cut'];
  /** Stops the current timeout. */
  #stopTimeout: () => void = () => {};
  #stopMute: () => void = () => {};
  /** Set when the client has received everything, until its socket is closed. */
  #closing: NodeJS.Immediate | undefined;
  #ending = false;
  #over = false;

  constructor(options: SpliceOptions) {
    const { client, remote, endMs = LIMITS.endMs, lingerMs = LIMITS.lingerMs } = options;
    this.#client = client;
    this.#remote = remote;
    this.#endMs = endMs;
    this.#lingerMs = lingerMs;
    this.#onEnd = options.onEnd;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    client.on('error', this.#onClientError);
    remote.on('error', this.#onRemoteError);
    client.on('close', this.#onClose);
    remote.on('close', this.#onClose);
    this.#up = new Flow({ from: client, to: remote, bufferLimit: 0, onEnd: this.#onHalf });
    this.#down = new Flow({
      from: remote,
      to: client,
      bufferLimit: options.clientBufferLimit,
      budget: options.budget,
      closes: true,
      beforeEnd: this.#beforeEnd,
      onEnd: this.#onHalf,
    });
    client.on('end', this.#onHalf);
    remote.on('end', this.#onHalf);
    if (client.destroyed || remote.destroyed) queueMicrotask(this.#onClose);
  }

  get bytesUp(): number {
    return this.#up.bytes;
  }

  get bytesDown(): number {
    return this.#down.bytes;
  }

  get ending(): boolean {
    return this.#ending;
  }

  /** Ends the stream gracefully within `endMs`: the server receives an end, and the client the server's remaining bytes. */
  stop(who: string): void {
    this.#finish('stopped', who);
  }

  /** One side has ended, or all its bytes have reached the other. */
  readonly #onHalf = (): void => {
    // The last write of a destroyed socket may be reported after its 'close'.
    if (this.#over) return;
    if (this.#down.sourceEnded && !this.#up.sourceEnded && !this.#ending)
      this.#why ??= 'the server ended first';
    if (this.#down.ended) this.#closeClient();
    if (this.#up.ended && this.#down.ended) this.#bound();
    else this.#watch();
  };

  /** The last byte for the client is delivered or dropped, and its end follows. */
  readonly #beforeEnd = (): void => {
    const silentMs = this.#down.blame;
    if (silentMs !== undefined && this.#reason !== 'stopped' && this.#reason !== 'client lost') {
      const blamed = `its client had not read for ${String(Math.round(silentMs / 1000))} s`;
      this.#lost =
        this.#lost === undefined ? `the server ended it after ${blamed}` : `${this.#lost}; ${blamed}`;
    }
    this.#tellEnd(this.#lost);
  };

  #tellEnd(lost: string | undefined): void {
    this.#onEnd?.(lost, this.#down.sourceEnded && !this.#up.sourceEnded);
  }

  /** What the client has sent by now is still read and passed on: bytes that nobody reads would turn its end into ECONNRESET. */
  #closeClient(): void {
    if (this.#client.destroyed) return;
    this.#closing ??= setImmediate(() => {
      this.#up.cut();
      this.#bound();
      this.#client.destroy();
    });
  }

  readonly #onClientError = (error: unknown): void => {
    this.#finish('client lost', textOf(error));
  };

  readonly #onRemoteError = (error: unknown): void => {
    this.#finish('remote lost', textOf(error));
  };

  readonly #onClose = (): void => {
    if (this.#over) return;
    // Nothing takes the client's bytes any more, but they must be read to notice its end.
    if (this.#remote.destroyed) this.#up.discard();
    if (this.#client.closed && this.#remote.closed) this.#settle();
    else if (this.#client.destroyed && !(this.#up.sourceEnded && this.#down.ended))
      this.#finish('client lost', 'the client closed');
    else if (this.#remote.destroyed && !this.#down.sourceEnded)
      this.#finish('remote lost', 'the server closed');
    else if (this.#client.destroyed) this.#bound();
    else this.#onHalf();
  };

  #settle(): void {
    this.#over = true;
    this.#stopTimeout();
    this.#stopMute();
    clearImmediate(this.#closing);
    this.#up.detach();
    this.#down.detach();
    this.#client.off('end', this.#onHalf);
    this.#remote.off('end', this.#onHalf);
    const stalledMs = Math.round(this.#down.stalledMs);
    this.#resolve({
      reason: this.#reason,
      ...(this.#why === undefined ? {} : { why: this.#why }),
      ...(this.#lost === undefined ? {} : { lost: this.#lost }),
      ...(stalledMs < STALL_MS ? {} : { stalledMs }),
      ...(this.#cut === undefined ? {} : { cut: this.#cut }),
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
    });
  }

  /** Limits silence after one side has ended. The other may continue, but a dead client looks the same as one that still reads. */
  #watch(): void {
    if (this.#ending || this.#over || this.#closing !== undefined) return;
    this.#stopTimeout();
    const { until, silence } = this.#patience();
    const left = until - performance.now();
    if (left <= 0) this.#finish('out of time', silence);
    else if (until !== Infinity) this.#stopTimeout = onSilence(left + 1, () => this.#watch());
  }

  /** Until when (performance.now()) a half-closed stream may be silent, and the text that says which side was silent. */
  #patience(): { readonly until: number; readonly silence: string } {
    const up = this.#up;
    const down = this.#down;
    if (down.sourceEnded) {
      const until = down.takenAt + this.#lingerMs;
      return {
        until,
        silence: `the server had ended, and the client did not read the last ${down.waiting} bytes`,
      };
    }
    const until = up.sourceEnded ? Math.max(down.readAt, up.takenAt, up.readAt) + this.#lingerMs : Infinity;
    return { until, silence: 'the client had closed its side, and the server said nothing more' };
  }

  /** Both sides are ending; they are destroyed if that takes longer than `endMs`. */
  #bound(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#stopTimeout();
    this.#stopTimeout = onSilence(this.#endMs, () => {
      this.#cut = this.#client.closed ? 'remote' : this.#remote.closed ? 'client' : 'both';
      if (!this.#down.ended) this.#tellEnd((this.#lost ??= 'it did not end in time'));
      this.#remote.destroy();
      this.#client.destroy();
    });
  }

  #finish(reason: Exclude<SpliceEnd['reason'], 'finished'>, why: string): void {
    if (this.#over) return;
    if (this.#reason === 'finished') {
      this.#reason = reason;
      this.#why = why;
      // A client that gets all that the server sent before its end has lost nothing.
      const whole = reason === 'out of time' ? this.#down.ended : this.#down.sourceEnded;
      if (!whole) this.#lost ??= LOST[reason]?.(why);
    }
    switch (reason) {
      case 'remote lost':
        // The client still gets the bytes that arrived before, then the end. It may read slowly.
        this.#up.discard();
        this.#down.cut();
        break;
      case 'stopped':
        // Nothing takes the client's bytes any more, but unread bytes would keep its socket from closing.
        this.#up.discard();
        this.#bound();
        break;
      case 'client lost':
      case 'out of time':
        this.#up.cut();
        this.#bound();
        if (reason === 'out of time' && !this.#down.ended) this.#tellEnd(this.#lost);
        this.#client.destroy();
        this.#down.discard();
        break;
    }
    if (reason === 'stopped' && !this.#remote.destroyed) this.#leaveMute();
  }

  /** Ends the remote, and does not wait for a server that stays silent. */
  #leaveMute(): void {
    const remote = this.#remote;
    if (!remote.writableEnded) remote.end();
    this.#stopMute();
    this.#stopMute = onMute(
      remote,
      () => this.#down.readAt,
      () => {
        this.#cut = 'remote';
        remote.destroy();
      },
    );
  }
}

/** The text of `SpliceEnd.lost` for each reason. */
const LOST: Readonly<Partial<Record<SpliceEnd['reason'], (why: string) => string>>> = {
  'remote lost': (why) => `${SERVER_LOST}${why}`,
  stopped: (who) => `it was ended by ${who}`,
  'out of time': (why) => why,
};
