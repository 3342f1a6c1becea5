// Shared parts of all dialling: budget, abort, and waiting until a socket has connected or is closed.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { inTime, type Deadline } from '../base/async/deadline.ts';
import type { TlsRoute } from '../engine-protocol/plan.ts';

/** The limits of one attempt to open a stream. */
export interface Dialling {
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
}

/**
 * Waits until `socket` emits `event`. On timeout, error or abort the socket is destroyed, because nothing was sent on it yet. After an abort
 * `abandon` is called instead, if given, with what is still awaited. An error
 * listener stays on the socket: an error before the next owner listens must not end the process. 'close' follows it.
 */
export function established(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  { deadline, signal }: Dialling,
  late: () => Error,
  abandon?: (awaited: Promise<void>) => void,
): Promise<void> {
  socket.on('error', () => undefined);
  const work = new Promise<void>((resolve, reject) => {
    const clear = (): void => {
      socket.removeListener(event, onDone);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
    };
    const onDone = (): void => {
      clear();
      resolve();
    };
    const onError = (error: Error): void => {
      clear();
      reject(error);
    };
    const onClose = (): void => {
      clear();
      reject(Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' }));
    };
    socket.once(event, onDone);
    socket.once('error', onError);
    socket.once('close', onClose);
  });
  return inTime(work, deadline.remaining(), late, { signal }).catch((error: unknown) => {
    if (signal.aborted && abandon !== undefined) abandon(work);
    else socket.destroy();
    throw error;
  });
}

/** A stream that was opened, and how long its steps took, ms. */
export interface DialledStream {
  readonly stream: Duplex;
  readonly connectMs: number;
  /** TLS handshake; 0 where there is none. */
  readonly handshakeMs: number;
  /** True when the name of the host does not lead to the address of this stream any more. */
  readonly hasMoved: () => boolean;
  /** The route with the pin of the gateway, when its own route has none and this connection has brought it into the store. */
  readonly pinned?: TlsRoute | undefined;
  /** Tells the peer at once that what has come has come: it may hold back a second small answer until then. */
  readonly acknowledge: () => void;
}
