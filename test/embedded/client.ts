// A small IPC client over any stream, for tests. Every wait has a limit, and each error shows what arrived instead.
import type { Duplex } from 'node:stream';
import { ByteQueue } from '../../daemon/bmux-ipc/byte-queue.ts';
import { Reader } from '../../daemon/bmux-ipc/codec.ts';
import {
  decodeEnvelope,
  decodeResponse,
  defaultContract,
  encodeRequestFrame,
  type Contract,
  type Negotiated,
  type Request,
  type Response,
} from '../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import { invokeServiceIndex } from './server/answers.ts';
import { encodeRawMode, PatternCheck, patternPieces, type RawMode, type SinkReport } from './traffic.ts';

export interface TestClientOptions {
  /** Default 4. */
  readonly epoch?: Epoch;
  /** Limit of each wait, ms; default 10 000. */
  readonly limitMs?: number;
  readonly principalId?: string;
  readonly clientName?: string;
}

export class TestClient {
  readonly stream: Duplex;
  readonly epoch: Epoch;
  readonly #limitMs: number;
  readonly #principalId: string;
  readonly #clientName: string;
  readonly #held = new ByteQueue();
  #nextId = 1n;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: Duplex, options: TestClientOptions = {}) {
    this.stream = stream;
    this.epoch = options.epoch ?? 4;
    this.#limitMs = options.limitMs ?? 60_000;
    this.#principalId = options.principalId ?? 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a';
    this.#clientName = options.clientName ?? 'test';
    stream.on('data', (chunk: Buffer) => {
      this.#held.push(chunk);
      // A bulk transfer must get back-pressure from a slow reader.
      if (this.#held.length > 1024 * 1024) stream.pause();
      this.#wake?.();
    });
    stream.on('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
    stream.on('error', (error) => {
      this.#error = error;
      this.#wake?.();
    });
    stream.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** Waits until `look` returns something; it is called again after each chunk or end. */
  async #until<T>(what: string, look: () => T | undefined): Promise<T> {
    const until = performance.now() + this.#limitMs;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.#error !== undefined) throw this.#error;
      const state = `${this.#held.length} bytes held`;
      if (this.#ended) throw new Error(`the stream ended while waiting for ${what} (${state})`);
      const left = until - performance.now();
      if (left <= 0) throw new Error(`no ${what} within ${this.#limitMs} ms (${state})`);
      this.stream.resume();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }

  /** Returns the next frame's payload. */
  frame(): Promise<Buffer> {
    return this.#until('frame', () => {
      const length = this.#held.u32(0);
      return length === undefined || this.#held.length < 4 + length ? undefined : this.#held.take(4, length);
    });
  }

  /** Returns exactly `length` raw bytes. */
  bytes(length: number): Promise<Buffer> {
    return this.#until(`${length} bytes`, () =>
      this.#held.length < length ? undefined : this.#held.take(0, length),
    );
  }

  /** Resolves at the peer's end with the bytes before it; rejects if the stream breaks. */
  ended(): Promise<Buffer> {
    const parts: Buffer[] = [];
    return this.#until('end', () => {
      if (this.#held.length > 0) parts.push(this.#held.take(0, this.#held.length));
      return this.#ended && this.#error === undefined ? Buffer.concat(parts) : undefined;
    });
  }

  /** Writes a request and returns its id; `response` reads the answer. */
  send(request: Request): bigint {
    const id = this.#nextId++;
    this.stream.write(encodeRequestFrame(this.epoch, id, request));
    return id;
  }

  /** Reads the next frame, which must be the answer to `id`. */
  async response(id: bigint): Promise<Response> {
    const envelope = decodeEnvelope(await this.frame());
    if (envelope.version !== this.epoch || envelope.kind !== 'response' || envelope.requestId !== id)
      throw new Error(
        `expected the answer ${id} of epoch ${this.epoch}, got ${envelope.kind} ${envelope.requestId} of ${envelope.version}`,
      );
    return decodeResponse(this.epoch, envelope.payload);
  }

  async request(request: Request): Promise<Response> {
    return this.response(this.send(request));
  }

  /** The Hello request, for tests that send it themselves. */
  helloRequest(contract: Contract = defaultContract(this.epoch)): Request {
    return { type: 'hello', contract, clientName: this.#clientName, principalId: this.#principalId };
  }

  async hello(contract?: Contract): Promise<Negotiated> {
    const response = await this.request(this.helloRequest(contract));
    return expectType(response, 'hello_negotiated').negotiated;
  }

  async ping(): Promise<void> {
    expectType(await this.request({ type: 'ping' }), 'pong');
  }

  async serverStatus(): Promise<Extract<Response, { type: 'server_status' }>> {
    return expectType(await this.request({ type: 'server_status' }), 'server_status');
  }

  async whoAmI(): Promise<Extract<Response, { type: 'principal_identity' }>> {
    return expectType(await this.request({ type: 'whoami' }), 'principal_identity');
  }

  /** Sends InvokeService with any body; the embedded server returns it. */
  async echo(body: Uint8Array): Promise<Buffer> {
    const index = invokeServiceIndex(this.epoch);
    const response = expectType(await this.request({ type: 'other', index, body }), 'other');
    const reader = new Reader(response.body);
    const echoed = Buffer.from(reader.bytes());
    reader.end();
    return echoed;
  }

  /** Switches the stream to raw bytes (traffic.ts). */
  async raw(mode: RawMode): Promise<void> {
    const body = encodeRawMode(mode);
    if (!(await this.echo(body)).equals(body)) throw new Error('the raw mode was not taken');
  }

  /** Requests `count` numbered bytes and compares them; the peer ends first, then this side. */
  async source(count: number): Promise<void> {
    await this.raw({ type: 'source', bytes: count });
    const check = new PatternCheck();
    while (check.count < count) check.push(await this.bytes(Math.min(64 * 1024, count - check.count)));
    const more = await this.ended();
    this.stream.end();
    if (check.badAt !== undefined || more.length > 0)
      throw new Error(`differs at byte ${check.badAt ?? count}, ${more.length} bytes too many`);
  }

  /** Sends `count` numbered bytes and an end, and returns what the server counted. */
  async sink(count: number): Promise<SinkReport> {
    await this.raw({ type: 'sink' });
    for (const piece of patternPieces(count)) {
      if (this.stream.write(piece)) continue;
      await this.#drained();
    }
    this.stream.end();
    return JSON.parse((await this.ended()).toString()) as SinkReport;
  }

  #drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        this.stream.off('drain', settle);
        this.stream.off('close', settle);
        if (error === undefined) resolve();
        else reject(error);
      };
      const timer = setTimeout(() => settle(new Error(`no drain within ${this.#limitMs} ms`)), this.#limitMs);
      this.stream.once('drain', settle);
      this.stream.once('close', settle);
    });
  }

  /** Ends this side and waits for the peer's end. */
  async close(): Promise<void> {
    this.stream.end();
    await this.ended();
  }
}

/** Returns `response` as that type, or throws an error that shows it. */
function expectType<T extends Response['type']>(response: Response, type: T): Extract<Response, { type: T }> {
  if (response.type === type) return response as Extract<Response, { type: T }>;
  const shown = JSON.stringify(response, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  throw new Error(`expected ${type}, got ${shown}`);
}
