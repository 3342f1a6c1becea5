// Writes the frames of a v4 server and queues at most 16. A client that does not take one within 5 s is closed, perhaps in the middle of a
// frame (docs/bmux-protocol.md, "Blocked writer"). A v3 server queues without bound.
import type { FrameSocket } from './frame-socket.ts';

const QUEUED_FRAMES = 16;

export class FrameWriter {
  readonly #socket: FrameSocket;
  /** Time limit for one frame, ms; undefined: neither a time limit nor a limit of the queue. */
  readonly #limitMs: number | undefined;
  readonly #onStalled: () => void;
  #queued = 0;
  #last: Promise<void> = Promise.resolve();
  #waiting: (() => void)[] = [];
  bytesWritten = 0;

  constructor(socket: FrameSocket, limitMs: number | undefined, onStalled: () => void) {
    this.#socket = socket;
    this.#limitMs = limitMs;
    this.#onStalled = onStalled;
  }

  /** Resolves when `bytes` are queued (or the socket is closed). */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.#limitMs !== undefined && this.#queued >= QUEUED_FRAMES && !this.#socket.closed)
      await this.#guarded(new Promise<void>((resolve) => this.#waiting.push(resolve)), this.#limitMs);
    if (this.#socket.closed) return;
    this.#queued += 1;
    this.#last = this.#last.then(() => this.#write(bytes));
  }

  /** Resolves when the kernel has taken all frames, or the socket is closed. */
  drained(): Promise<void> {
    return this.#last;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const written = this.#socket.write(bytes);
    if (this.#limitMs === undefined) await written;
    else await this.#guarded(written, this.#limitMs);
    this.#queued -= 1;
    if (!this.#socket.closed) this.bytesWritten += bytes.length;
    if (this.#socket.closed) for (const resume of this.#waiting.splice(0)) resume();
    else this.#waiting.shift()?.();
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
