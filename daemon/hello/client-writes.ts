// What the client of an optimistic stream has written: passed on to the inner stream, held while there is none, and recorded for a replay.
import type { Duplex } from 'node:stream';
import type { Failure } from '../base/failure.ts';
import { asLine } from '../errors/text.ts';
import { encodeResponseFrame } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import { ReplayLog, type Undelivered } from './replay.ts';

export type Done = (error?: Error | null) => void;

/**
 * `inner` is the inner stream that the optimistic stream has at the time of the call, or undefined while it is being replaced. Node calls
 * `_write` and `_final` one at a time, so there is at most one write and one end whose callback is still to be called.
 */
export class ClientWrites {
  /** What has been forwarded so far; undefined once it can no longer be replayed. */
  #log: ReplayLog | undefined = new ReplayLog();
  /** The ids of the requests in a log that was taken. */
  #asked: readonly bigint[] = [];
  /** The callback of a write that was passed to the inner stream and is not finished there. */
  #writing: Done | undefined;
  /** A write that came while there was no inner stream. */
  #held: { readonly chunks: readonly Buffer[]; readonly done: Done } | undefined;
  /** The client has ended its side. */
  #ended = false;
  /** The callback of that end, until the inner stream has ended as well. */
  #ending: Done | undefined;

  /** Writes `chunks` to the inner stream, or holds them until there is one. */
  write(inner: Duplex | undefined, chunks: readonly Buffer[], done: Done): void {
    if (inner === undefined) {
      this.#held = { chunks, done };
      return;
    }
    this.#log?.add(chunks);
    // The inner stream takes no more bytes. The client learns that from the end of the readable side.
    if (inner.destroyed || inner.writableEnded) {
      done();
      return;
    }
    this.#pass(inner, chunks, done);
  }

  /** The client has ended its side. */
  end(inner: Duplex | undefined, done: Done): void {
    this.#ended = true;
    this.#ending = done;
    this.passEnd(inner);
  }

  /** Ends the inner stream when the client has ended its side. */
  passEnd(inner: Duplex | undefined): void {
    if (!this.#ended || inner === undefined) return;
    if (inner.destroyed || inner.writableFinished) this.endPassed();
    else inner.end();
  }

  /** The end has been passed on: calls its callback, if there is one. */
  endPassed(error?: Error): void {
    const done = this.#ending;
    this.#ending = undefined;
    done?.(error);
  }

  /** The write under way is over: calls its callback, if there is one. */
  written(error?: Error): void {
    const done = this.#writing;
    this.#writing = undefined;
    done?.(error);
  }

  /** From now on nothing is recorded. */
  forgetLog(): void {
    this.#log = undefined;
    this.#asked = [];
  }

  /** Whether everything that was forwarded may be sent again. */
  mayReplay(epoch: Epoch): boolean {
    return this.#log?.harmless(epoch) !== undefined;
  }

  /** Answers to the requests that were recorded or are held: they tell `why` there is no other one. */
  refusals(epoch: Epoch, why: Failure): Uint8Array[] {
    const held = new ReplayLog();
    held.add(this.#held?.chunks ?? []);
    const asked = [...(this.#log?.requests(epoch) ?? this.#asked), ...held.requests(epoch)];
    const answer = { type: 'error', code: 'internal', message: asLine(why) } as const;
    return asked.map((requestId) => encodeResponseFrame(epoch, requestId, answer));
  }

  /** Everything that was forwarded, if it may be sent again; else undefined. From now on nothing is recorded. */
  takeLog(epoch: Epoch, undelivered?: Undelivered): Buffer | undefined {
    const sent = this.#log?.harmless(epoch, undelivered);
    this.#asked = this.#log?.requests(epoch) ?? [];
    this.#log = undefined;
    return sent;
  }

  /** Sends `sent` on a new inner stream, then the write that was held. */
  replay(inner: Duplex, sent: Buffer): void {
    const held = this.#held;
    this.#held = undefined;
    const writing = this.#writing;
    if (sent.length === 0) this.written();
    else if (writing === undefined) inner.write(sent);
    else this.#pass(inner, [sent], writing);
    if (held !== undefined) this.write(inner, held.chunks, held.done);
  }

  /** Calls all callbacks that are still to be called, with `cause`. */
  destroy(cause: Error): void {
    this.#log = undefined;
    const held = this.#held;
    this.#held = undefined;
    held?.done(cause);
    this.written(cause);
    this.endPassed(cause);
  }

  /** `done` is called when `inner` has written the last chunk, since the memory of the chunks may be used again after that. */
  #pass(inner: Duplex, chunks: readonly Buffer[], done: Done): void {
    // Set before the write, since the write may destroy the stream synchronously.
    this.#writing = done;
    const passed = (error?: Error | null): void => {
      if (!error && this.#writing === done) this.written();
    };
    if (chunks.length > 1) inner.cork();
    chunks.forEach((chunk, at) => inner.write(chunk, at === chunks.length - 1 ? passed : undefined));
    if (chunks.length > 1) inner.uncork();
  }
}
