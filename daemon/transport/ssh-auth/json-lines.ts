// Newline-delimited JSON on a stream, with bounded lines, one reader and a time limit.
import type { Duplex } from 'node:stream';
import { inTime } from '../../base/async/deadline.ts';
import { fail } from '../../errors/fail.ts';
import type { Dialling } from '../dialling.ts';

/** Longest line that a peer may send, bytes (docs/bmux-protocol.md, "SSH auth"). */
const LINE_MAX = 65_536;
const LF = 0x0a;

export interface LineStreamOptions extends Dialling {
  /** Makes the error for a wait that reached its deadline. */
  readonly late: () => Error;
}

/** Reads lines from `stream` one at a time. Call `next()` again only after the last line was returned; `release()` removes the listeners. */
export class LineStream {
  readonly #stream: Duplex;
  readonly #options: LineStreamOptions;
  #buffered: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(stream: Duplex, options: LineStreamOptions) {
    this.#stream = stream;
    this.#options = options;
    stream.on('data', this.#onData);
    for (const event of ['end', 'close', 'error'] as const) stream.on(event, this.#onEnd);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#buffered = Buffer.concat([this.#buffered, chunk]);
    // One line of read-ahead is enough: pausing keeps further data at the peer.
    if (this.#buffered.length > LINE_MAX) this.#stream.pause();
    this.#wake();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake();
  };

  /** Sends one value as a line. A failed write is noticed by the wait for the answer. */
  send(value: unknown): void {
    if (this.#stream.writable) this.#stream.write(`${JSON.stringify(value)}\n`);
  }

  /** Returns the next line without its end, or undefined when the stream ended or failed before one. Rejects when late or too long. */
  next(): Promise<string | undefined> {
    const { deadline, signal, late } = this.#options;
    const line = new Promise<string | undefined>((resolve, reject) => {
      this.#wake = (): void => {
        const at = this.#buffered.indexOf(LF);
        if (at >= 0 && at <= LINE_MAX) {
          resolve(this.#buffered.subarray(0, at).toString('utf8'));
          this.#buffered = this.#buffered.subarray(at + 1);
          this.#wake = () => undefined;
          this.#stream.resume();
        } else if (this.#buffered.length > LINE_MAX) {
          reject(fail('line_invalid', { why: `longer than ${String(LINE_MAX)} bytes` }));
        } else if (this.#ended) {
          resolve(undefined);
        }
      };
      this.#wake();
    });
    return inTime(line, deadline.remaining(), late, { signal });
  }

  release(): void {
    this.#wake = () => undefined;
    this.#stream.removeListener('data', this.#onData);
    for (const event of ['end', 'close', 'error'] as const) this.#stream.removeListener(event, this.#onEnd);
  }
}
