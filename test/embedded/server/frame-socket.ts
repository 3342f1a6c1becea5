// A server's end of a Unix socket that reads from the kernel only the bytes it needs: the length, then the payload. Real servers read like
// this, and unread bytes have effects. Closing then resets the peer, and gateways send nothing more (docs/bmux-protocol.md, "How a refusal
// arrives").
import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';
import { FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES } from '../../../daemon/bmux-ipc/frame.ts';

const RAW_BYTES = 64 * 1024;

export interface FrameHandlers {
  /** One payload. Reading stops until `next()`. */
  readonly onFrame: (payload: Buffer) => void;
  /** In raw mode: a chunk. Reading stops until `next()`. */
  readonly onRaw: (chunk: Buffer) => void;
  /** The client has ended its side, between two reads or inside a frame. */
  readonly onEnd: () => void;
  /** A frame over the limit has arrived completely; real servers check its length only then. */
  readonly onTooLarge: () => void;
  readonly onClose: () => void;
}

/** A field of Node's sockets that its types omit: the handle, from which a new Socket can be made. */
interface WithHandle {
  _handle: unknown;
}

/** `accepted` comes from a server with `pauseOnConnect`; it must not be used afterwards. */
export class FrameSocket {
  readonly #socket: Socket;
  readonly #handlers: FrameHandlers;
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #payload: Buffer | undefined;
  /** Bytes of the header or payload that have arrived. */
  #have = 0;
  /** Bytes of an over-long frame that have not arrived yet. */
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

  /** Reads the next frame or chunk. */
  next(): void {
    if (this.#delivering) this.#goesOn = true;
    else if (!this.#socket.destroyed) this.#socket.resume();
  }

  /** Switches from frames to raw bytes. */
  raw(): void {
    this.#raw = true;
  }

  /** Resolves when the kernel has taken all of `bytes`, or the socket is closed. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed || this.#socket.writableEnded) resolve();
      else this.#socket.write(bytes, () => resolve());
    });
  }

  /** Ends this side; the client's stays readable. */
  end(): void {
    if (!this.#socket.writableEnded) this.#socket.end();
  }

  /** Writes all queued data and closes both sides. */
  close(): void {
    this.#socket.destroySoon();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The buffer for the next bytes, never larger than needed now. */
  #room(): Buffer {
    if (this.#raw || this.#excess !== undefined) return Buffer.allocUnsafe(RAW_BYTES);
    return (this.#payload ?? this.#header).subarray(this.#have);
  }

  /** Handles bytes in the last buffer; false stops reading. */
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
      if (length > MAX_PAYLOAD_BYTES) this.#excess = length;
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

  /** Whether reading goes on. A handler may call `next()` while it runs, and the return value must not override that. */
  #deliver(call: () => void): boolean {
    this.#delivering = true;
    this.#goesOn = false;
    call();
    this.#delivering = false;
    return this.#goesOn;
  }
}
