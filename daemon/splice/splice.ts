// Joins a client and a remote stream: bytes both ways, half-close both ways, and one proper end whatever happens to either side.
import type { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { LIMITS } from '../base/limits.ts';
import { Flow } from './flow.ts';

/** How a splice ended. `finished`: both sides came to their end. */
export interface SpliceEnd {
  readonly reason: 'finished' | 'client lost' | 'remote lost' | 'stopped' | 'out of time';
  /** Who asked for the end, or the first line of the error; that the server ended unasked, as one does that is gone. */
  readonly why?: string;
  /** The longest time, ms, that the client did not read what waited for it; from 1 s on. */
  readonly stalledMs?: number;
  /** What had not come to its end in time and was cut: a remote may cost the server behind its gateway a place. */
  readonly cut?: 'client' | 'remote' | 'both';
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface SpliceOptions {
  readonly client: Duplex;
  readonly remote: Duplex;
  /** Bytes kept for a client that does not read, before back-pressure reaches the server. */
  readonly clientBufferLimit: number;
  /** ms for a graceful end. */
  readonly endMs?: number;
  /** ms without a byte from the server that a client may stay after it has closed its side; and that it may take to read what is left. */
  readonly lingerMs?: number;
  /** Told why it is not the end that both sides wanted, before the client gets it. Called at most once. */
  readonly onLost?: (reason: 'remote lost' | 'out of time', why: string) => void;
}

/** A shorter stall is ordinary back-pressure, ms. */
const STALL_MS = 1000;

/**
 * Lifecycle: live -> (one side ended: half) -> ending -> done. A lost client, a lost remote and a stop all go through `#finish`,
 * so that the remote always gets its end (close_notify, finish) and is read to its own (docs/bmux-protocol.md, "Stream ends").
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
  readonly #onLost: SpliceOptions['onLost'];
  #resolve: (end: SpliceEnd) => void = () => {};
  #reason: SpliceEnd['reason'] = 'finished';
  #why: string | undefined;
  #cut: SpliceEnd['cut'];
  /** Ends the wait that is under way. */
  #heard: () => void = () => {};
  /** performance.now() when the client had been given everything and the end. */
  #toldAt: number | undefined;
  #ending = false;
  #over = false;

  constructor(options: SpliceOptions) {
    const { client, remote, clientBufferLimit, endMs = LIMITS.endMs, lingerMs = LIMITS.lingerMs } = options;
    this.#client = client;
    this.#remote = remote;
    this.#endMs = endMs;
    this.#lingerMs = lingerMs;
    this.#onLost = options.onLost;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    client.on('error', this.#onClientError);
    remote.on('error', this.#onRemoteError);
    client.on('close', this.#onClose);
    remote.on('close', this.#onClose);
    this.#up = new Flow({ from: client, to: remote, bufferLimit: 0, onEnd: this.#onHalf });
    this.#down = new Flow({ from: remote, to: client, bufferLimit: clientBufferLimit, onEnd: this.#onHalf });
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

  /** Ends the stream gracefully, bounded: the server hears our end, and the client what the server still says. */
  stop(who: string): void {
    this.#finish('stopped', who);
  }

  /** One side has said its last byte, or all of it has reached the other. */
  readonly #onHalf = (): void => {
    if (this.#down.sourceEnded && !this.#up.sourceEnded && !this.#ending)
      this.#why ??= 'the server ended first';
    if (this.#up.ended && this.#down.ended) this.#bound();
    else this.#watch();
  };

  readonly #onClientError = (error: unknown): void => {
    this.#finish('client lost', textOf(error));
  };

  readonly #onRemoteError = (error: unknown): void => {
    this.#finish('remote lost', textOf(error));
  };

  readonly #onClose = (): void => {
    if (this.#over) return;
    // What the client still sends has no reader any more, and its end must be seen.
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
    this.#heard();
    this.#up.detach();
    this.#down.detach();
    this.#client.off('end', this.#onHalf);
    this.#remote.off('end', this.#onHalf);
    const stalledMs = Math.round(this.#down.stalledMs);
    this.#resolve({
      reason: this.#reason,
      ...(this.#why === undefined ? {} : { why: this.#why }),
      ...(stalledMs < STALL_MS ? {} : { stalledMs }),
      ...(this.#cut === undefined ? {} : { cut: this.#cut }),
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
    });
  }

  /** While one side has ended: the other may go on, but not in silence for ever, since a dead client looks just like one that listens. */
  #watch(): void {
    if (this.#ending || this.#over) return;
    this.#heard();
    const { until, silence } = this.#patience();
    const left = until - performance.now();
    if (left <= 0) this.#finish('out of time', silence);
    else if (until !== Infinity) this.#heard = onSilence(left + 1, () => this.#watch());
  }

  /** Until when (performance.now()) a half-closed stream may be silent, and who is silent then. */
  #patience(): { readonly until: number; readonly silence: string } {
    const up = this.#up;
    const down = this.#down;
    if (down.ended) {
      this.#toldAt ??= performance.now();
      const until = Math.max(up.readAt, this.#toldAt) + this.#endMs;
      return { until, silence: 'the server had ended, and the client neither ended nor said more' };
    }
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

  /** Both ends are under way: whoever does not come to it in time is cut. */
  #bound(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#heard();
    this.#heard = onSilence(this.#endMs, () => {
      this.#cut = this.#client.closed ? 'remote' : this.#remote.closed ? 'client' : 'both';
      this.#remote.destroy();
      this.#client.destroy();
    });
  }

  #finish(reason: Exclude<SpliceEnd['reason'], 'finished'>, why: string): void {
    if (this.#over) return;
    if (this.#reason === 'finished') {
      this.#reason = reason;
      this.#why = why;
      // Who has got everything and the end has lost nothing.
      const whole = reason === 'remote lost' ? this.#down.sourceEnded : this.#down.ended;
      if ((reason === 'remote lost' || reason === 'out of time') && !whole) this.#onLost?.(reason, why);
    }
    switch (reason) {
      case 'remote lost':
        // What came before is the client's; then it is told the end. It may take its time to read.
        this.#up.discard();
        this.#down.cut();
        break;
      case 'stopped':
        // What the client still sends has no reader any more, but unread bytes would keep its socket from closing.
        this.#up.discard();
        this.#bound();
        break;
      case 'client lost':
      case 'out of time':
        this.#up.cut();
        this.#bound();
        this.#client.destroy();
        this.#down.discard();
        break;
    }
    if (reason === 'stopped' && !this.#remote.destroyed && !this.#remote.writableEnded) this.#remote.end();
  }
}
