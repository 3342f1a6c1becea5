// One Hello on one stream: sends it, waits for the answer, and gives the outcome.
import type { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { Failure, textOf } from '../base/failure.ts';
import { FrameReader } from '../bmux-ipc/frame.ts';
import {
  decodeEnvelope,
  decodeResponse,
  encodeRequestFrame,
  type Contract,
  type IncompatibilityReason,
} from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import { SshEnd } from '../transport/ssh/failures.ts';
import { alertIn } from '../transport/tls/alert.ts';

/** What the server answered to a Hello. */
export interface Negotiated {
  readonly revision: number;
  readonly capabilities: readonly string[];
}

/** The outcome of a Hello. `ended`: the stream closed without an answer. `silent`: no answer came in time. */
export type HelloOutcome =
  | { readonly type: 'negotiated'; readonly negotiated: Negotiated }
  | { readonly type: 'incompatible'; readonly reason: IncompatibilityReason }
  | { readonly type: 'refused'; readonly code: string; readonly message: string }
  | { readonly type: 'other version'; readonly version: number }
  | { readonly type: 'malformed'; readonly why: string }
  /**
   * `broken`: the stream failed, or the connection below it was closed. Otherwise the server ended the stream. `answeredBefore`: an earlier Hello was
   * answered on the connection below. `doubtful`: nothing at all comes on that connection.
   */
  | { readonly type: 'ended'; readonly broken?: true; readonly answeredBefore?: true }
  /** The gateway has refused the connection with a TLS alert, after the handshake. */
  | { readonly type: 'alert'; readonly name: string }
  /** The other end of the transport has said why there is no answer, or the answer is compressed and no zstd loads. */
  | { readonly type: 'told'; readonly failure: Failure }
  | { readonly type: 'silent'; readonly answeredBefore?: true; readonly doubtful?: boolean };

export interface HelloOptions {
  readonly epoch: Epoch;
  readonly contract: Contract;
  readonly clientName: string;
  /** UUID, hyphenated. */
  readonly principalId: string;
  /** ms to wait for the answer. */
  readonly timeoutMs: number;
}

/** A Hello that was sent. */
export interface Handshake {
  /** Never rejects; undefined after `giveUp`. */
  readonly outcome: Promise<HelloOutcome | undefined>;
  /** Stops waiting for the answer. */
  readonly giveUp: () => void;
}

/** Request id of the broker's Hello: the same id that a client uses for its Hello. */
export const HELLO_REQUEST_ID = 1n;

/** Longest answer that is read, bytes. The answer to a Hello, with all capabilities, takes a few hundred. */
export const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Sends the Hello and reads one answer. No byte is sent after the Hello, since the protocol of the server is not known yet. The stream is then
 * paused, and the bytes after the answer can be read from it. Throws `frame_invalid` for a Hello that cannot be encoded.
 */
export function handshake(stream: Duplex, options: HelloOptions): Handshake {
  const { epoch, contract, clientName, principalId, timeoutMs } = options;
  const frame = encodeRequestFrame(epoch, HELLO_REQUEST_ID, {
    type: 'hello',
    contract,
    clientName,
    principalId,
  });
  const reader = new FrameReader(MAX_ANSWER_BYTES);
  let giveUp = (): void => {};
  const said = new Promise<HelloOutcome | undefined>((resolve) => {
    const outcome = (value: HelloOutcome | undefined): void => {
      answeredInTime();
      stream.off('data', onData);
      stream.off('end', onEnd);
      stream.off('close', onEnd);
      stream.off('error', onError);
      // Until the next owner of the stream has listeners, an error must not end the process.
      stream.on('error', ignore);
      resolve(value);
    };
    giveUp = () => {
      outcome(undefined);
    };
    const onEnd = (): void => {
      outcome({ type: 'ended' });
    };
    const onError = (error: unknown): void => {
      if (error instanceof SshEnd || (error instanceof Failure && error.code === 'zstd_unavailable')) {
        outcome({ type: 'told', failure: error });
        return;
      }
      const alert = alertIn(error);
      if (alert !== undefined) {
        outcome({ type: 'alert', name: alert });
        return;
      }
      // A stream that ends inside a compressed block counts as closed, not as malformed.
      const lost = !(error instanceof Failure) || error.code === 'block_truncated';
      outcome(lost ? { type: 'ended', broken: true } : { type: 'malformed', why: textOf(error) });
    };
    const onData = (chunk: Buffer): void => {
      let payload: Uint8Array | undefined;
      try {
        reader.push(chunk);
        payload = reader.next();
      } catch (error) {
        outcome({ type: 'malformed', why: textOf(error) });
        return;
      }
      if (payload === undefined) return;
      stream.pause();
      const answer = readAnswer(epoch, payload);
      outcome(answer);
      const rest = reader.rest();
      if (rest.length > 0) stream.unshift(rest);
    };
    const answeredInTime = onSilence(timeoutMs, () => {
      outcome({ type: 'silent' });
    });
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('close', onEnd);
    stream.on('error', onError);
    if (stream.destroyed) onEnd();
    else stream.write(frame);
  });
  return { outcome: said, giveUp };
}

function ignore(): void {
  // See `outcome` in `handshake`.
}

function readAnswer(epoch: Epoch, frame: Uint8Array): HelloOutcome {
  try {
    const envelope = decodeEnvelope(frame);
    if (envelope.version !== epoch) return { type: 'other version', version: envelope.version };
    if (envelope.kind !== 'response' || envelope.requestId !== HELLO_REQUEST_ID) {
      return {
        type: 'malformed',
        why: `a ${envelope.kind} with request id ${String(envelope.requestId)} instead of the answer`,
      };
    }
    const response = decodeResponse(epoch, envelope.payload);
    switch (response.type) {
      case 'hello_negotiated':
        if (response.negotiated.wireEpoch !== epoch) {
          return {
            type: 'malformed',
            why: `a negotiated epoch ${String(response.negotiated.wireEpoch)} in an answer of ${String(epoch)}`,
          };
        }
        return { type: 'negotiated', negotiated: response.negotiated };
      case 'hello_incompatible':
        return { type: 'incompatible', reason: response.reason };
      case 'error':
        return { type: 'refused', code: response.code, message: response.message };
      default:
        return { type: 'malformed', why: `the answer to the Hello is ${response.type}` };
    }
  } catch (error) {
    return { type: 'malformed', why: textOf(error) };
  }
}
