// The way out of a v4 server: at most 16 queued frames, and a client that does not take one within 5 s is closed, perhaps in the
// middle of it (docs/bmux-protocol.md, "Blocked writer"). A v3 server queues without bound.
import type { FrameSocket } from './frame-socket.ts';

const QUEUED_FRAMES = 16;

export class FrameWriter {
  readonly #socket: FrameSocket;
  /** ms for one frame; undefined: no limit, of time or of places. */
  readonly #limitMs: number | undefined;
  readonly #onStalled: () => void;
  #queued = 0;
  #last: Promise<void> = Promise.resolve();
  #places: (() => void)[] = [];
  bytesWritten = 0;

  constructor(socket: FrameSocket, limitMs: number | undefined, onStalled: () => void) {
    this.#socket = socket;
    this.#limitMs = limitMs;
    this.#onStalled = onStalled;
  }

  /** Resolves when `bytes` have a place in the queue (or the socket is gone). */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.#limitMs !== undefined && this.#queued >= QUEUED_FRAMES && !this.#socket.closed)
      await this.#guarded(new Promise<void>((resolve) => this.#places.push(resolve)), this.#limitMs);
    if (this.#socket.closed) return;
    this.#queued += 1;
    this.#last = this.#last.then(() => this.#write(bytes));
  }

  /** Resolves when everything that was sent is with the kernel, or the socket is gone. */
  drained(): Promise<void> {
    return this.#last;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const written = this.#socket.write(bytes);
    if (this.#limitMs === undefined) await written;
    else await this.#guarded(written, this.#limitMs);
    this.#queued -= 1;
    if (!this.#socket.closed) this.bytesWritten += bytes.length;
    if (this.#socket.closed) for (const place of this.#places.splice(0)) place();
    else this.#places.shift()?.();
  }

  async #guarded(work: Promise<void>, ms: number): Promise<void> {
    const timer = setTimeout(() => {
      if (this.#socket.closed) return;
      this.#socket.destroy();
      this.#onStalled();
    }, ms);
    try {
      await work;
    } finally {
      clearTimeout(timer);
    }
  }
}
