// A server's end of a Unix socket that takes no byte from the kernel before it needs it: the length, then just the payload.
// Real servers read like this, and what they leave unread shows: closing then resets the peer, and gateways fall silent (docs/bmux-protocol.md, "How a refusal arrives").
import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from '../../daemon/bmux-ipc/frame.ts';

const RAW_BYTES = 64 * 1024;

export interface FrameHandlers {
  /** One payload. Nothing more is read until `next()`. */
  readonly onFrame: (payload: Buffer) => void;
  /** In raw mode: what came. Nothing more is read until `next()`. */
  readonly onRaw: (chunk: Buffer) => void;
  /** The client has finished its side, between two reads or inside a frame. */
  readonly onEnd: () => void;
  /** A frame over the limit has arrived whole: real servers look at its length only then. */
  readonly onTooLarge: () => void;
  readonly onClose: () => void;
}

/** What Node's sockets have and its types do not say: the handle, which a new Socket can be made of. */
interface WithHandle {
  _handle: unknown;
}

/** `accepted` comes from a server with `pauseOnConnect`; it must not be used afterwards. */
export class FrameSocket {
  readonly #socket: Socket;
  readonly #handlers: FrameHandlers;
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #payload: Buffer | undefined;
  /** Bytes of the header or of the payload that are there. */
  #have = 0;
  /** Bytes of an over-long frame that are still to come. */
  #excess: number | undefined;
  #raw = false;
  #delivering = false;
  #goesOn = false;
  bytesRead = 0;

  constructor(accepted: Socket, handlers: FrameHandlers) {
    this.#handlers = handlers;
    const holder = accepted as unknown as WithHandle;
    const options: SocketConstructorOpts & { handle: unknown; onread: OnReadOpts } = {
      handle: holder._handle,
      allowHalfOpen: true,
      onread: { buffer: () => this.#room(), callback: (bytes, buffer) => this.#take(bytes, buffer) },
    };
    holder._handle = null;
    accepted.destroy();
    this.#socket = new Socket(options);
    this.#socket.on('end', handlers.onEnd);
    this.#socket.on('error', () => undefined); // 'close' follows
    this.#socket.on('close', handlers.onClose);
    this.#socket.resume();
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  /** Lets the next frame or chunk come. */
  next(): void {
    if (this.#delivering) this.#goesOn = true;
    else if (!this.#socket.destroyed) this.#socket.resume();
  }

  /** From now on bytes, no frames. */
  raw(): void {
    this.#raw = true;
  }

  /** Resolves when the kernel has taken all of `bytes`, or the socket is gone. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed || this.#socket.writableEnded) resolve();
      else this.#socket.write(bytes, () => resolve());
    });
  }

  /** Finishes our side; the client's stays readable. */
  end(): void {
    if (!this.#socket.writableEnded) this.#socket.end();
  }

  /** Writes what is queued and closes both sides. */
  close(): void {
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Where the next bytes go: never more room than what is wanted now. */
  #room(): Buffer {
    if (this.#raw || this.#excess !== undefined) return Buffer.allocUnsafe(RAW_BYTES);
    return (this.#payload ?? this.#header).subarray(this.#have);
  }

  /** Bytes have come into the last room; false stops reading. */
  #take(bytes: number, buffer: Uint8Array): boolean {
    this.bytesRead += bytes;
    const chunk = Buffer.from(buffer.buffer, buffer.byteOffset, bytes);
    if (this.#raw) {
      return this.#deliver(() => this.#handlers.onRaw(chunk));
    }
    if (this.#excess !== undefined) {
      this.#excess -= bytes;
      if (this.#excess > 0) return true;
      this.#handlers.onTooLarge();
      return false;
    }
    this.#have += bytes;
    if (this.#payload === undefined) {
      if (this.#have < FRAME_HEADER_BYTES) return true;
      const length = this.#header.readUInt32LE(0);
      this.#have = 0;
      if (length > MAX_FRAME_BYTES) this.#excess = length;
      else if (length > 0) this.#payload = Buffer.allocUnsafe(length);
      else return this.#deliver(() => this.#handlers.onFrame(Buffer.alloc(0)));
      return true;
    }
    if (this.#have < this.#payload.length) return true;
    const payload = this.#payload;
    this.#payload = undefined;
    this.#have = 0;
    return this.#deliver(() => this.#handlers.onFrame(payload));
  }

  /** Whether reading goes on: a handler that asks for more while it is called must not be overruled by the answer. */
  #deliver(call: () => void): boolean {
    this.#delivering = true;
    this.#goesOn = false;
    call();
    this.#delivering = false;
    return this.#goesOn;
  }
}
