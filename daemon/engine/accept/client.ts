// How a client is told that it has its stream, or why it has none. Each kind of socket has its own form of answer.
import type { Socket } from 'node:net';
import type { Failure } from '../../base/failure.ts';
import { asLine } from '../../errors/text.ts';
import { refuse, switching } from '../../sockets/http-answer.ts';
import { closeLingering } from '../../sockets/accepted-socket.ts';
import { Incompatible } from '../../hello/detection-error.ts';
import type { StreamInfo } from '../../api/answers.ts';
import { encodeResponseFrame } from '../../bmux-ipc/ipc.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import { warningsOf, type Plan } from '../../engine-protocol/plan.ts';

/** A client that waits for its stream. The engine calls exactly one of `granted` and `refused`, once. */
export interface AcceptedClient {
  readonly socket: Socket;
  /** Bytes that the client has sent after its request, already read from the socket. */
  readonly head: Buffer;
  /** True when a client that closes its socket before it is answered wants nothing any more. */
  readonly mayHangUp: boolean;
  readonly granted: (info: StreamInfo) => void;
  readonly refused: (failure: Failure) => void;
}

export interface HttpClientOptions extends Pick<AcceptedClient, 'socket' | 'head'> {
  readonly plan: Plan;
  /** Called right before the answer is written. */
  readonly answered: () => void;
}

/** A client of `streams.sock`. It gets an HTTP answer: `101`, or problem details (RFC 9457). */
export function httpClient({ plan, answered, ...base }: HttpClientOptions): AcceptedClient {
  const { socket } = base;
  return {
    ...base,
    mayHangUp: true,
    granted: (info) => {
      answered();
      socket.write(switching(info));
    },
    refused: (failure) => {
      answered();
      refuse(socket, { ...failure.data, warnings: warningsOf(plan) }, plan.client.requestId);
    },
  };
}

/**
 * A client of a target socket that sent a Hello. It gets the server's answer to it or the reason of a failure, in its own epoch and with its
 * own request id.
 */
export function helloClient(
  socket: Socket,
  head: Buffer,
  hello: { readonly epoch: Epoch; readonly requestId: bigint },
): AcceptedClient {
  const { epoch, requestId } = hello;
  return {
    socket,
    head,
    mayHangUp: true,
    granted: ({ negotiated }) => {
      const { revision, capabilities } = negotiated;
      socket.write(
        encodeResponseFrame(epoch, requestId, {
          type: 'hello_negotiated',
          negotiated: { wireEpoch: epoch, revision, capabilities: [...capabilities] },
        }),
      );
    },
    refused: (failure) => {
      socket.write(
        encodeResponseFrame(
          epoch,
          requestId,
          failure instanceof Incompatible
            ? { type: 'hello_incompatible', reason: failure.reason }
            : { type: 'error', code: 'internal', message: asLine(failure) },
        ),
      );
      closeLingering(socket);
    },
  };
}

/** A client of a target socket whose first frame is no Hello. Its bytes go to the server unchanged, and the server answers them. */
export function rawClient(socket: Socket, head: Buffer): AcceptedClient {
  return {
    socket,
    head,
    // As with a server itself, what it has sent counts although it does not wait for an answer.
    mayHangUp: false,
    granted: () => undefined,
    refused: () => {
      closeLingering(socket);
    },
  };
}
