// One client of the embedded server, from accept to end, by the rules of a real server's handle_connection (docs/bmux-protocol.md, "Across
// epochs" and "Handshake limit"; measured).
import type { Socket } from 'node:net';
import { onSilence } from '../../../daemon/base/async/deadline.ts';
import { textOf } from '../../../daemon/base/failure.ts';
import {
  decodeEnvelope,
  decodeRequest,
  encodeResponseFrame,
  negotiate,
  REQUIRED_CAPABILITIES,
  type Contract,
  type Envelope,
  type Request,
  type Response,
} from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { answer } from './answers.ts';
import { FrameSocket } from './frame-socket.ts';
import { FrameWriter } from './frame-writer.ts';
import { rawConnection, type RawConnection } from './raw-connection.ts';

export interface HelloSeen {
  readonly epoch: Epoch;
  readonly clientName: string;
  readonly principalId: string;
  readonly contract: Contract;
}

/** What a connection needs from its server. */
export interface ConnectionHost {
  /** The epochs that the server speaks; a connection keeps that of its first frame. */
  readonly epochs: readonly Epoch[];
  readonly handshakeTimeoutMs: number;
  /** Limit for one frame to a client that does not read, ms; undefined: no limit. */
  writeLimitMs(epoch: Epoch): number | undefined;
  /** The server's own id. Undefined: that of each client, which is then the owner of the server. */
  readonly principalId: string | undefined;
  contract(epoch: Epoch): Contract;
  /** Resolves when answers may be sent (`hold`). */
  gate(): Promise<void>;
  onHello(hello: HelloSeen): void;
  onRequest(request: Request): void;
  onStalled(): void;
  onClosed(connection: Connection): void;
  /** Called after ServerStop was answered. */
  stop(): void;
}

export class Connection {
  readonly #host: ConnectionHost;
  readonly #socket: FrameSocket;
  /** Ends the wait for the Hello. */
  readonly #heard: () => void;
  #writer: FrameWriter;
  #hello: HelloSeen | undefined;
  #raw: RawConnection | undefined;
  #busy = false;
  #ended = false;

  constructor(accepted: Socket, host: ConnectionHost) {
    this.#host = host;
    this.#socket = new FrameSocket(accepted, {
      onFrame: (payload) => void this.#onFrame(payload),
      onRaw: (chunk) => this.#raw?.onChunk(chunk),
      onEnd: () => this.#onEnd(),
      onTooLarge: () => this.#close(),
      onClose: () => {
        this.#heard();
        host.onClosed(this);
      },
    });
    this.#writer = new FrameWriter(this.#socket, undefined, () => undefined);
    this.#heard = onSilence(host.handshakeTimeoutMs, () => this.#close());
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  get bytesWritten(): number {
    return this.#writer.bytesWritten;
  }

  /** Ends at once, as when the server stops. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #onFrame(payload: Buffer): Promise<void> {
    this.#busy = true;
    await this.#host.gate();
    const goesOn = await this.#handle(payload);
    this.#busy = false;
    if (!goesOn || (this.#ended && this.#raw === undefined)) await this.#finish();
    else if (this.#ended) this.#raw?.onEnd();
    else this.#socket.next();
  }

  /** False: the connection ends once all queued data is written. */
  async #handle(payload: Buffer): Promise<boolean> {
    let envelope: Envelope;
    try {
      envelope = decodeEnvelope(payload);
    } catch {
      return false;
    }
    const epoch = (this.#hello ? [this.#hello.epoch] : this.#host.epochs).find((e) => e === envelope.version);
    if (epoch === undefined) return false;
    const respond = async (response: Response): Promise<void> => {
      await this.#writer.send(encodeResponseFrame(epoch, envelope.requestId, response));
    };
    let request: Request;
    try {
      if (envelope.kind !== 'request') throw new Error('expected request envelope kind');
      request = decodeRequest(epoch, envelope.payload);
    } catch (error) {
      if (this.#hello === undefined) return false;
      await respond({
        type: 'error',
        code: 'invalid_request',
        message: `failed parsing request: ${textOf(error)}`,
      });
      return true;
    }
    this.#host.onRequest(request);
    if (this.#hello === undefined) return this.#greet(epoch, request, respond);
    const reply = answer(epoch, request, this.#hello.principalId, this.#host.principalId);
    await respond(reply.response);
    if (reply.raw !== undefined) {
      this.#socket.raw();
      this.#raw = rawConnection(reply.raw, this.#socket, this.#writer, () => void this.#finish());
    }
    if (reply.response.type === 'server_stopping') {
      await this.#writer.drained();
      this.#host.stop();
    }
    return true;
  }

  /** Handles the first request: only a Hello of this epoch is accepted. */
  async #greet(epoch: Epoch, request: Request, respond: (r: Response) => Promise<void>): Promise<boolean> {
    this.#heard();
    this.#writer = new FrameWriter(this.#socket, this.#host.writeLimitMs(epoch), () =>
      this.#host.onStalled(),
    );
    if (request.type !== 'hello') {
      const message = `first request must be ${epoch === 3 ? 'hello_v2' : 'hello'}`;
      await respond({ type: 'error', code: 'invalid_request', message });
      return false;
    }
    const { contract, clientName, principalId } = request;
    const hello = { epoch, clientName, principalId, contract };
    this.#host.onHello(hello);
    const result = negotiate(this.#host.contract(epoch), contract, REQUIRED_CAPABILITIES[epoch]);
    if ('incompatible' in result) {
      await respond({ type: 'hello_incompatible', reason: result.incompatible });
      return false;
    }
    await respond({ type: 'hello_negotiated', negotiated: result.negotiated });
    this.#hello = hello;
    return true;
  }

  #onEnd(): void {
    this.#ended = true;
    if (this.#busy) return;
    if (this.#raw === undefined) void this.#finish();
    else this.#raw.onEnd();
  }

  async #finish(): Promise<void> {
    await this.#writer.drained();
    this.#close();
  }

  #close(): void {
    this.#socket.close();
  }
}
