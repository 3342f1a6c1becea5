// The opening of an optimistic stream, and the comparison of the server's answer with the expected one.
import { textOf, type Failure } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import { FrameReader } from '../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeResponse, encodeRequestFrame, type Envelope } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import { HELLO_REQUEST_ID, MAX_ANSWER_BYTES, type Negotiated } from './handshake.ts';
import type { Greeting } from './hello-cache.ts';
import type { PendingPing } from './health-check.ts';

export type AnswerCheck =
  | { readonly type: 'incomplete' }
  /** `rest`: the bytes after the answer, which belong to the client. */
  | { readonly type: 'expected'; readonly rest: Buffer }
  | { readonly type: 'different'; readonly failure: Failure };

/** Request id of the Ping on a spare that is handed out. Clients count from 1, and the health checks of spares from 2^63. */
const HANDED_OUT_ID = 2n ** 63n - 1n;

/** What is sent before the bytes of the client, and how the answer to it is recognised. */
export interface Opening {
  readonly bytes: Buffer;
  /** Why the frame is not the expected answer; undefined when it is. May throw. */
  readonly differenceOf: (envelope: Envelope) => string | undefined;
  /** The failure when no answer has come in time. */
  readonly late: (label: string, ms: number) => Failure;
}

/** A Hello on a stream on which nothing has been sent. */
export function helloOpening(epoch: Epoch, greeting: Greeting, expected: Negotiated): Opening {
  return {
    bytes: encodeRequestFrame(epoch, HELLO_REQUEST_ID, { type: 'hello', ...greeting }),
    differenceOf: ({ kind, requestId, payload }) => {
      if (kind !== 'response' || requestId !== HELLO_REQUEST_ID)
        return 'the server sends something else before its answer';
      const answer = decodeResponse(epoch, payload);
      if (answer.type !== 'hello_negotiated') return `the server answers ${answer.type}`;
      const { negotiated } = answer;
      return negotiated.wireEpoch === epoch && sameAnswer(negotiated, expected)
        ? undefined
        : 'the server negotiates something else than before';
    },
    late: (label, ms) => fail('hello_timeout', { label, ms }),
  };
}

/**
 * A Ping on a spare, whose Hello was answered before. The Pong shows that the server still answers. `pending`: a Ping that was sent already.
 */
export function pingOpening(epoch: Epoch, pending?: PendingPing): Opening {
  const id = pending?.requestId ?? HANDED_OUT_ID;
  return {
    bytes: pending === undefined ? encodeRequestFrame(epoch, id, { type: 'ping' }) : Buffer.alloc(0),
    differenceOf: ({ kind, requestId, payload }) => {
      const right = kind === 'response' && requestId === id;
      return right && decodeResponse(epoch, payload).type === 'pong'
        ? undefined
        : 'the server sends something else than a Pong';
    },
    late: (_label, ms) =>
      fail('optimistic_open_failed', { why: `no Pong on a spare stream within ${String(ms)} ms` }),
  };
}

export function sameAnswer(a: Negotiated, b: Negotiated): boolean {
  return (
    a.revision === b.revision &&
    a.capabilities.length === b.capabilities.length &&
    a.capabilities.every((name, index) => name === b.capabilities[index])
  );
}

/** Reads one answer from chunks of any size. Never throws. */
export class ExpectedAnswer {
  readonly #epoch: Epoch;
  readonly #opening: Opening;
  readonly #reader = new FrameReader(MAX_ANSWER_BYTES);

  constructor(epoch: Epoch, opening: Opening) {
    this.#epoch = epoch;
    this.#opening = opening;
  }

  /** Takes the next chunk; not to be called again after an answer other than `incomplete`. */
  push(chunk: Uint8Array): AnswerCheck {
    let frame: Uint8Array | undefined;
    let why: string | undefined;
    try {
      this.#reader.push(chunk);
      frame = this.#reader.next();
      if (frame !== undefined) why = this.#differenceOf(frame);
    } catch (error) {
      return { type: 'different', failure: fail('optimistic_open_failed', { why: textOf(error) }, error) };
    }
    if (why !== undefined) return { type: 'different', failure: fail('optimistic_open_failed', { why }) };
    return frame === undefined ? { type: 'incomplete' } : { type: 'expected', rest: this.#reader.rest() };
  }

  #differenceOf(frame: Uint8Array): string | undefined {
    const envelope = decodeEnvelope(frame);
    return envelope.version === this.#epoch
      ? this.#opening.differenceOf(envelope)
      : `the server answers in version ${envelope.version}`;
  }
}
