// An optimistic stream over scripted inner streams. The rig records everything that happens to it.
import { deepEqual, equal } from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import type { Failure } from '../../../daemon/base/failure.ts';
import { HELLO_REQUEST_ID, type Negotiated } from '../../../daemon/hello/handshake.ts';
import { helloOpening } from '../../../daemon/hello/expected-answer.ts';
import { OptimisticStream, type Reopened } from '../../../daemon/hello/optimistic.ts';
import { endGracefully } from '../../../daemon/transport/end.ts';
import { encodeFrame } from '../../../daemon/bmux-ipc/frame.ts';
import { encodeEnvelope, type EnvelopeKind } from '../../../daemon/bmux-ipc/envelope.ts';
import { encodeResponse } from '../../../daemon/bmux-ipc/response.ts';
import { defaultContract, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';

export const EPOCH: Epoch = 4;
export const GREETING = {
  contract: defaultContract(EPOCH),
  clientName: 'c',
  principalId: '00112233-4455-6677-8899-aabbccddeeff',
};
export const EXPECTED: Negotiated = { revision: 1, capabilities: ['core.control', 'core.lifecycle'] };
export const HELLO = encodeRequestFrame(EPOCH, HELLO_REQUEST_ID, { type: 'hello', ...GREETING });

/** The expected answer of a server to the Hello; each argument can make it a different one. */
export function answer(
  { revision, capabilities }: Negotiated = EXPECTED,
  requestId = HELLO_REQUEST_ID,
  kind: EnvelopeKind = 'response',
  version: Epoch = EPOCH,
  wireEpoch: number = EPOCH,
): Buffer {
  const negotiated = { wireEpoch, revision, capabilities: [...capabilities] };
  const payload = encodeResponse(EPOCH, { type: 'hello_negotiated', negotiated });
  return encodeFrame(encodeEnvelope({ version, requestId, kind, payload }));
}

/** Waits for `count` turns of the event loop, so that everything that is ready has happened. */
export async function turns(count = 8): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Names of the listeners of the optimistic stream on `stream`: they are private methods. Node adds listeners with other names. */
function leftOn(stream: Duplex): string[] {
  const listeners = stream.eventNames().flatMap((name) => stream.listeners(name));
  return listeners.map((listener) => listener.name).filter((name) => name.startsWith('#'));
}

/** A stream to the server: `near` is the broker's end, `far` the server's end. */
export interface Line {
  readonly near: Duplex;
  readonly far: Duplex;
  /** What the server has read. */
  heard: Buffer;
  /** How often the broker has ended it. */
  ends: number;
}

export interface RigOptions {
  readonly answerMs?: number;
  /** Default: `answerMs`. */
  readonly limitMs?: number;
  readonly highWaterMark?: number;
  readonly toldByAnswer?: boolean;
  /** Wraps the near end, for example in compression. */
  readonly wrap?: (near: Duplex) => Duplex;
}

export class Rig {
  readonly client: OptimisticStream;
  /** All lines, in the order in which they were opened. */
  readonly lines: Line[] = [];
  /** What happened, in order. */
  readonly log: string[] = [];
  readonly failures: Failure[] = [];
  /** It fails when it is confirmed: what the client has sent has reached no server. */
  failsLate = false;
  confirmed = 0;
  reopens = 0;
  aborted = false;
  error: unknown;
  closed = false;
  ended = false;
  /** What the client has read. */
  heard: Buffer = Buffer.alloc(0);
  /** Writes and ends whose callbacks were not called yet. */
  waiting = 0;
  /** Settles the `reopen` that is under way. */
  give: ((result: Reopened | Error) => void) | undefined;
  readonly #highWaterMark: number;
  readonly #onReject = (error: unknown): void => {
    this.log.push(`fault: unhandled ${String(error)}`);
  };

  constructor({
    answerMs = 60_000,
    limitMs = answerMs,
    highWaterMark = 64,
    toldByAnswer = false,
    wrap = (near) => near,
  }: RigOptions = {}) {
    process.on('unhandledRejection', this.#onReject);
    this.#highWaterMark = highWaterMark;
    this.client = new OptimisticStream({
      inner: this.line(wrap).near,
      epoch: EPOCH,
      opening: helloOpening(EPOCH, GREETING, EXPECTED),
      label: 'prod',
      expected: EXPECTED,
      answerMs,
      limitMs,
      toldByAnswer,
      onLate: () => {
        this.log.push('late');
      },
      onConfirmed: () => {
        this.log.push('confirmed');
        this.confirmed += 1;
      },
      onFailed: (failure) => {
        this.log.push('failed');
        this.failures.push(failure);
      },
      reopen: (signal) => {
        this.log.push('reopen');
        this.reopens += 1;
        signal.addEventListener('abort', () => (this.aborted = true));
        return new Promise((resolve, reject) => {
          this.give = (result) => {
            this.give = undefined;
            if (result instanceof Error) reject(result);
            else resolve(result);
          };
        });
      },
      end: (stream) => {
        const line = this.lines.find(({ near }) => near === stream);
        if (line === undefined) throw new Error('an unknown stream was ended');
        line.ends += 1;
        this.log.push(`end ${String(this.lines.indexOf(line))}`);
        this.log.push(...leftOn(stream).map((name) => `fault: ${name} was not removed`));
        void endGracefully(stream, 5000);
      },
    });
    this.client.on('data', (chunk: Buffer) => (this.heard = Buffer.concat([this.heard, chunk])));
    this.client.on('end', () => (this.ended = true));
    this.client.on('error', (error) => {
      this.log.push('error');
      this.error = error;
    });
    this.client.on('close', () => (this.closed = true));
  }

  /** The line that the optimistic stream uses now. */
  get now(): Line {
    const line = this.lines.at(-1);
    if (line === undefined) throw new Error('there is no line');
    return line;
  }

  line(wrap: (near: Duplex) => Duplex = (near) => near): Line {
    const [inner, far] = duplexPair({ highWaterMark: this.#highWaterMark });
    const near = wrap(inner);
    const line: Line = { near, far, heard: Buffer.alloc(0), ends: 0 };
    near.on('error', () => undefined);
    far.on('error', () => undefined);
    far.on('data', (chunk: Buffer) => (line.heard = Buffer.concat([line.heard, chunk])));
    this.lines.push(line);
    return line;
  }

  write(bytes: Uint8Array): void {
    this.waiting += 1;
    this.client.write(bytes, () => (this.waiting -= 1));
  }

  end(): void {
    this.waiting += 1;
    this.client.end(() => (this.waiting -= 1));
  }

  /** Settles `reopen` with a new line: paused, its Hello answered. */
  fresh(negotiated = EXPECTED, epoch: Epoch = EPOCH): Line {
    const line = this.line();
    line.near.pause();
    this.give?.({ stream: line.near, negotiated, candidate: { epoch } });
    return line;
  }

  /** Destroys the client, and checks that every stream was ended once and every write has called back. */
  async finish(): Promise<void> {
    this.client.destroy();
    await turns();
    // A line that comes after the destruction is ended as well.
    if (this.give !== undefined) this.fresh();
    await turns();
    process.off('unhandledRejection', this.#onReject);
    equal(this.closed, true, 'it is closed');
    equal(this.waiting, 0, 'every write has called back');
    deepEqual(
      this.lines.map(({ ends }) => ends),
      this.lines.map(() => 1),
      'every stream is ended once',
    );
    equal(this.failures.length <= 1 && this.reopens <= this.failures.length, true);
    if (this.failures.length > 0 && !this.failsLate) {
      equal(this.confirmed, 0, 'a failed stream is not confirmed');
      const first = this.log.find((line) => line !== 'late');
      equal(first, 'failed', 'onFailed is called before anything but onLate');
    }
    deepEqual(
      this.log.filter((line) => line.startsWith('fault')),
      [],
    );
    for (const { far, near } of this.lines) {
      far.destroy();
      near.destroy();
    }
  }
}
