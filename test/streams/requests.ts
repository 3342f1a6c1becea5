// A client of the streams socket that writes raw bytes. The test decides which bytes are sent with the request, and when the others are sent.
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { whitelisted } from '../../daemon/api/caller-env.ts';
import { asciiJson } from '../../daemon/api/header.ts';
import { encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { ByteQueue } from '../../daemon/bmux-ipc/byte-queue.ts';
import { invokeServiceIndex } from '../embedded/server/answers.ts';
import { encodeRawMode, type RawMode } from '../embedded/traffic.ts';
import type { Sandbox } from '../daemon/bmuxd.ts';

/** The head of a request for a stream. */
export function requestHead(sandbox: Pick<Sandbox, 'env'>, more: object = {}): Buffer {
  const request = asciiJson({ env: whitelisted(sandbox.env), ...more });
  return Buffer.from(
    `POST /v1/streams HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: bmux-stream/1\r\nBmux-Request: ${request}\r\n\r\n`,
  );
}

/** The frame with which a stream of the embedded server changes to raw bytes. */
export function rawModeFrame(mode: RawMode): Buffer {
  return encodeRequestFrame(4, 7n, {
    type: 'other',
    index: invokeServiceIndex(4),
    body: encodeRawMode(mode),
  });
}

export interface Answered {
  readonly status: number;
  readonly head: string;
}

/** Reads from a socket in pieces that the test chooses. Each wait has a limit of 40 s. */
export class Incoming {
  readonly socket: Duplex;
  readonly #held = new ByteQueue();
  #take: (chunk: Buffer) => void = (chunk) => {
    this.#held.push(chunk);
  };
  #ended = false;
  #wake: () => void = () => undefined;

  /** `to`: a path to connect to, or an open stream. */
  constructor(to: string | Duplex) {
    this.socket = typeof to === 'string' ? connect({ path: to, allowHalfOpen: true }) : to;
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk: Buffer) => {
      this.#take(chunk);
      this.#wake();
    });
    for (const event of ['end', 'close'] as const) {
      this.socket.on(event, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Passes everything from now on to `take`, including what is buffered. */
  takeAll(take: (chunk: Buffer) => void): void {
    take(this.#rest());
    this.#take = take;
  }

  get ended(): boolean {
    return this.#ended;
  }

  async #until<T>(what: string, look: () => T | undefined): Promise<T> {
    const limit = performance.now() + 40_000;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`the end came instead of ${what}: ${this.#rest().toString('latin1')}`);
      if (performance.now() > limit) throw new Error(`no ${what} within 40 s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #rest(): Buffer {
    return this.#held.take(0, this.#held.length);
  }

  /** The head of the HTTP answer. */
  async answer(): Promise<Answered> {
    let bytes = Buffer.alloc(0);
    return this.#until('answer', () => {
      bytes = Buffer.concat([bytes, this.#rest()]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return undefined;
      this.#held.push(bytes.subarray(end + 4));
      const head = bytes.toString('latin1', 0, end);
      return { status: Number(head.split(' ')[1]), head };
    });
  }

  /** Exactly this number of bytes. */
  bytes(length: number): Promise<Buffer> {
    return this.#until(`${length} bytes`, () =>
      this.#held.length < length ? undefined : this.#held.take(0, length),
    );
  }

  /** The payload of one frame. */
  async frame(): Promise<Buffer> {
    return this.bytes((await this.bytes(4)).readUInt32LE(0));
  }

  /** Everything before the end. */
  async toEnd(): Promise<Buffer> {
    const limit = performance.now() + 40_000;
    while (!this.#ended && performance.now() < limit) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (!this.#ended) throw new Error('no end within 40 s');
    return this.#rest();
  }
}
