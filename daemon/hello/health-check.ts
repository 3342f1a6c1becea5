// The health check of a negotiated stream: it sends one Ping, and expects one Pong and no other byte.
import type { Duplex } from 'node:stream';
import { onSilence } from '../base/async/deadline.ts';
import { textOf } from '../base/failure.ts';
import { fail } from '../errors/fail.ts';
import { FrameReader } from '../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeResponse, encodeRequestFrame } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import { MAX_ANSWER_BYTES } from './handshake.ts';

/** First request id of the Pings. Clients count from 1, so their ids are different. */
const FIRST_ID = 2n ** 63n;

/** ms after which a Pong is overdue, at least; two round trips when that is more. */
const OVERDUE_MS = 100;

/** A Ping that was not answered yet. */
export interface PendingPing {
  readonly requestId: bigint;
  /** performance.now() when it was sent. */
  readonly since: number;
}

/** Checks one stream any number of times. The stream must flow during a check, and other listeners must ignore the data of it. */
export class HealthCheck {
  readonly #stream: Duplex;
  readonly #epoch: Epoch;
  #next = FIRST_ID;
  /** The check that is under way, until the first byte of its answer. */
  #unanswered: { readonly pending: PendingPing; readonly giveUp: () => void } | undefined;
  #roundTripMs: number | undefined;

  constructor(stream: Duplex, epoch: Epoch) {
    this.#stream = stream;
    this.#epoch = epoch;
  }

  /** ms, as the last check measured it. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /**
   * Gives up the check that is under way, which rejects; the next owner of the stream reads the Pong. Returns undefined without a check, when a
   * part of the answer has been read, and when the Pong is overdue, since the stream is then probably dead.
   */
  release(): PendingPing | undefined {
    const unanswered = this.#unanswered;
    if (unanswered === undefined) return undefined;
    const { pending, giveUp } = unanswered;
    if (performance.now() - pending.since > Math.max(OVERDUE_MS, 2 * (this.#roundTripMs ?? 0)))
      return undefined;
    giveUp();
    return pending;
  }

  /** Resolves with the round trip in ms. Rejects when anything but the Pong comes, or no Pong within `timeoutMs`; the stream is unusable then. */
  check(timeoutMs: number): Promise<number> {
    const id = this.#next++;
    const since = performance.now();
    const reader = new FrameReader(MAX_ANSWER_BYTES);
    const stream = this.#stream;
    return new Promise((resolve, reject) => {
      let answered = false;
      const finish = (error: Error | undefined, roundTripMs = 0): void => {
        answeredInTime();
        this.#unanswered = undefined;
        stream.off('data', onData);
        stream.off('end', onEnd);
        stream.off('close', onEnd);
        stream.off('error', finish);
        if (error !== undefined) reject(error);
        else {
          this.#roundTripMs = roundTripMs;
          resolve(roundTripMs);
        }
      };
      const onEnd = (): void => {
        finish(fail('optimistic_open_failed', { why: 'a spare stream was closed' }));
      };
      const onData = (chunk: Buffer): void => {
        this.#unanswered = undefined;
        try {
          reader.push(chunk);
          const frame = reader.next();
          if (frame === undefined && !answered) return;
          const roundTripMs = performance.now() - since;
          if (answered || !this.#isPong(frame, id) || reader.rest().length > 0) {
            finish(fail('optimistic_open_failed', { why: 'the server sends something else than a Pong' }));
            return;
          }
          answered = true;
          answeredInTime();
          // One read of the transport can give several chunks, all in this turn of the event loop. A chunk after the Pong must be noticed.
          setImmediate(() => {
            finish(undefined, roundTripMs);
          });
        } catch (error) {
          finish(fail('optimistic_open_failed', { why: textOf(error) }, error));
        }
      };
      const answeredInTime = onSilence(timeoutMs, () => {
        finish(
          fail('optimistic_open_failed', {
            why: `no Pong on a spare stream within ${String(Math.round(timeoutMs))} ms`,
          }),
        );
      });
      stream.on('data', onData);
      stream.on('end', onEnd);
      stream.on('close', onEnd);
      stream.on('error', finish);
      if (stream.destroyed || stream.readableEnded) {
        onEnd();
        return;
      }
      this.#unanswered = {
        pending: { requestId: id, since },
        giveUp: () => {
          finish(fail('optimistic_open_failed', { why: 'the stream was handed out before its Pong' }));
        },
      };
      stream.write(encodeRequestFrame(this.#epoch, id, { type: 'ping' }));
    });
  }

  #isPong(frame: Uint8Array | undefined, id: bigint): boolean {
    if (frame === undefined) return false;
    const { version, kind, requestId, payload } = decodeEnvelope(frame);
    const right = version === this.#epoch && kind === 'response' && requestId === id;
    return right && decodeResponse(this.#epoch, payload).type === 'pong';
  }
}
