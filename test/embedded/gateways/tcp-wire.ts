// A TCP connection as a plain stream under a TLS socket. Over a real socket, Node reports a FIN without close_notify as a proper end. Here the
// FIN is held back until everything before it is decrypted, so that the two can be distinguished.
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

/** Interval of the check whether a slow consumer has taken all decrypted bytes, ms. */
const LOOK_MS = 5;

export class TcpWire extends Duplex {
  readonly #tcp: Socket;
  #finished = false;
  #onFinish: (() => void) | undefined;

  constructor(tcp: Socket) {
    super({ allowHalfOpen: true });
    this.#tcp = tcp;
    tcp.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) tcp.pause();
    });
    tcp.on('end', () => {
      this.#finished = true;
      if (this.#onFinish === undefined) this.push(null);
      else this.#onFinish();
    });
    tcp.on('error', (error) => this.destroy(error));
    tcp.on('close', () => this.destroy());
  }

  /** Calls `truncated` when the peer's FIN arrives and `socket`, the TLS over this wire, has seen no close_notify before it. */
  watch(socket: TLSSocket, truncated: () => void): void {
    const look = (): void => {
      if (this.destroyed || socket.destroyed || socket.readableEnded) {
        if (!this.destroyed) this.push(null);
      } else if (this.readableLength > 0 || socket.readableLength > 0) {
        setTimeout(look, LOOK_MS).unref();
      } else {
        // One more turn, because `end` is emitted in the turn after the last byte.
        setImmediate(() => {
          if (socket.readableEnded) this.push(null);
          else if (socket.readableLength > 0) look();
          else truncated();
        });
      }
    };
    this.#onFinish = look;
    if (this.#finished) look();
  }

  /** Closes the TCP connection without a close_notify. */
  hangUp(): void {
    this.#tcp.destroySoon();
    this.destroy();
  }

  override _read(): void {
    this.#tcp.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#tcp.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#tcp.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#tcp.destroySoon();
    done(error);
  }
}
