// Who a stream is for: how a client is told that it has its stream, or why not. One way for each kind of socket.
import type { Socket } from 'node:net';
import type { Failure } from '../../base/failure.ts';
import { refuse, switching } from '../../sockets/http-answer.ts';
import { startReading } from '../../sockets/accepted-socket.ts';
import { Incompatible } from '../../hello/detection-error.ts';
import type { StreamInfo } from '../../api/answers.ts';
import { encodeResponseFrame } from '../../bmux-ipc/ipc.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import { warningsOf, type Plan } from '../../engine-protocol/plan.ts';

/** One caller. Exactly one of `granted` and `refused` is called, once. */
export interface AcceptedClient {
  readonly socket: Socket;
  /** What the caller has sent already, after the part that asked for the stream. */
  readonly head: Buffer;
  readonly granted: (info: StreamInfo) => void;
  readonly refused: (failure: Failure) => void;
}

export interface HttpClientOptions extends Pick<AcceptedClient, 'socket' | 'head'> {
  readonly plan: Plan;
  /** Called right before the caller gets its answer. */
  readonly answered: () => void;
}

/** A client of `streams.sock`: HTTP, the 101 or a problem. */
export function httpClient({ plan, answered, ...base }: HttpClientOptions): AcceptedClient {
  const { socket } = base;
  return {
    ...base,
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

/** A caller of a target socket: it said Hello itself, and reads the server's answer to it in its own epoch, under its own request id. */
export function helloClient(
  socket: Socket,
  head: Buffer,
  hello: { readonly epoch: Epoch; readonly requestId: bigint },
): AcceptedClient {
  const { epoch, requestId } = hello;
  return {
    socket,
    head,
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
      // Only a refused contract has words in the protocol; every other refusal is an end, as a server that is not there would give it.
      if (failure instanceof Incompatible) {
        socket.write(
          encodeResponseFrame(epoch, requestId, { type: 'hello_incompatible', reason: failure.reason }),
        );
      }
      closeLingering(socket);
    },
  };
}

/** A caller of a target socket that began with something else than a Hello: the server judges it. */
export function rawClient(socket: Socket, head: Buffer): AcceptedClient {
  return {
    socket,
    head,
    granted: () => undefined,
    refused: () => {
      closeLingering(socket);
    },
  };
}

/** Ends our side and reads what still comes: a socket that is closed with bytes unread gives its peer an error instead of the answer. */
export function closeLingering(socket: Socket): void {
  const cut = setTimeout(() => socket.destroy(), LIMITS.lingerCloseMs);
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    clearTimeout(cut);
  });
  socket.once('end', () => socket.destroySoon());
  socket.end();
  startReading(socket);
}
