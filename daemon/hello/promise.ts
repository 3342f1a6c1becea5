// The server's own answer to a Hello that has been answered for it: is it what was promised, and what follows it?
import { textOf, type Failure } from '../base/failure.ts';
import { fail } from '../wire/fail.ts';
import { FrameReader } from '../wire/frame.ts';
import { decodeEnvelope, decodeResponse } from '../wire/ipc.ts';
import type { Epoch } from '../wire/plan.ts';
import { HELLO_REQUEST_ID, type Negotiated } from './handshake.ts';

export type Verdict =
  | { readonly type: 'incomplete' }
  /** `rest`: what came after the answer, the client's. */
  | { readonly type: 'kept'; readonly rest: Buffer }
  | { readonly type: 'broken'; readonly failure: Failure };

/** Bytes of an answer to a Hello: it names capabilities, a few hundred bytes in all. */
const MAX_ANSWER_BYTES = 64 * 1024;

export function sameAnswer(a: Negotiated, b: Negotiated): boolean {
  return (
    a.revision === b.revision &&
    a.capabilities.length === b.capabilities.length &&
    a.capabilities.every((name, index) => name === b.capabilities[index])
  );
}

/** Reads one answer out of chunks of any size. Never throws. */
export class PromisedAnswer {
  readonly #epoch: Epoch;
  readonly #promised: Negotiated;
  readonly #reader = new FrameReader();
  #bytes = 0;

  constructor(epoch: Epoch, promised: Negotiated) {
    this.#epoch = epoch;
    this.#promised = promised;
  }

  /** Takes the next chunk; not to be called again after an answer other than `incomplete`. */
  push(chunk: Uint8Array): Verdict {
    let frame: Uint8Array | undefined;
    let why: string | undefined;
    try {
      this.#reader.push(chunk);
      frame = this.#reader.next();
      if (frame !== undefined) why = this.#differenceOf(frame);
    } catch (error) {
      return { type: 'broken', failure: fail('hello_promise_broken', { why: textOf(error) }, error) };
    }
    this.#bytes += chunk.length;
    if (frame === undefined && this.#bytes > MAX_ANSWER_BYTES) why = 'the answer is longer than any answer';
    if (why !== undefined) return { type: 'broken', failure: fail('hello_promise_broken', { why }) };
    return frame === undefined ? { type: 'incomplete' } : { type: 'kept', rest: this.#reader.rest() };
  }

  #differenceOf(frame: Uint8Array): string | undefined {
    const { version, kind, requestId, payload } = decodeEnvelope(frame);
    if (version !== this.#epoch) return `the server answers in version ${version}`;
    if (kind !== 'response' || requestId !== HELLO_REQUEST_ID)
      return `the server says something else before its answer`;
    const answer = decodeResponse(this.#epoch, payload);
    if (answer.type !== 'hello_negotiated') return `the server answers ${answer.type}`;
    const { negotiated } = answer;
    return negotiated.wireEpoch === this.#epoch && sameAnswer(negotiated, this.#promised)
      ? undefined
      : 'the server negotiates something else than before';
  }
}
