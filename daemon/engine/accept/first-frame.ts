// Reads the first frame of a client of a target socket: a Hello of epoch 3 or 4, or something else, which only a server can answer.
import type { Socket } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import { startReading, stopReading } from '../../sockets/accepted-socket.ts';
import { FrameReader } from '../../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest, type Contract } from '../../bmux-ipc/ipc.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';

/** What the client sent first. */
export type FirstFrame =
  | {
      readonly type: 'hello';
      readonly epoch: Epoch;
      readonly requestId: bigint;
      readonly contract: Contract;
      readonly clientName: string;
      readonly principalId: string;
      /** Bytes that were read after the Hello. */
      readonly rest: Buffer;
    }
  /** Not a Hello. `bytes` is everything that was read; `epoch` is that of the first frame, or undefined when it is not 3 or 4. */
  | { readonly type: 'other'; readonly epoch: Epoch | undefined; readonly bytes: Buffer }
  /** The client closed its side, sent nothing in time, or sent a frame that is too long. */
  | { readonly type: 'gone' };

/**
 * Reads the first frame within `timeoutMs`, by default the 5 s of a real server (docs/bmux-protocol.md, "Handshake limit"). Afterwards
 * the socket is not read until `startReading` is called, and no byte is lost. An 'error' handler stays on the socket: an error before
 * the next owner adds its own handler does not end the process. Never rejects.
 */
export function readFirstFrame(
  socket: Socket,
  timeoutMs: number = LIMITS.serverHelloMs,
): Promise<FirstFrame> {
  const reader = new FrameReader();
  socket.on('error', ignore);
  const reading = new Promise<FirstFrame>((resolve) => {
    const finish = (result: FirstFrame): void => {
      saidInTime();
      socket.off('data', onData);
      socket.off('end', onGone);
      socket.off('close', onGone);
      socket.pause();
      resolve(result);
    };
    const onGone = (): void => {
      finish({ type: 'gone' });
    };
    const onData = (chunk: Buffer): void => {
      try {
        reader.push(chunk);
        const frame = reader.next();
        if (frame !== undefined) finish(judge(frame, reader.rest()));
      } catch {
        // The frame is longer than allowed, or malformed. The connection is closed without an answer (docs/bmux-protocol.md, "Framing").
        finish({ type: 'gone' });
      }
    };
    const saidInTime = onSilence(timeoutMs, onGone);
    socket.on('data', onData);
    socket.on('end', onGone);
    socket.on('close', onGone);
    if (socket.destroyed || socket.readableEnded) onGone();
    else startReading(socket);
  });
  return reading.then((first) => {
    // `pause()` is not enough: the stream goes on reading into its buffer, and an end that it reads would have no listener. This is
    // done one turn later, since a stream reads once more in the turn after a chunk, even when it is paused.
    stopReading(socket);
    return first;
  });
}

function ignore(): void {
  // A 'close' event follows each error and is handled.
}

function judge(frame: Uint8Array, rest: Buffer): FirstFrame {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(frame.length);
  const bytes = Buffer.concat([header, frame, rest]);
  let epoch: Epoch | undefined;
  try {
    const envelope = decodeEnvelope(frame);
    epoch = envelope.version === 3 || envelope.version === 4 ? envelope.version : undefined;
    if (epoch === undefined || envelope.kind !== 'request') return { type: 'other', epoch, bytes };
    const request = decodeRequest(epoch, envelope.payload);
    if (request.type !== 'hello') return { type: 'other', epoch, bytes };
    const { contract, clientName, principalId } = request;
    // The epoch of the contract is not that of the envelope. The server refuses that with its own text.
    if (contract.epoch !== epoch) return { type: 'other', epoch, bytes };
    return { type: 'hello', epoch, requestId: envelope.requestId, contract, clientName, principalId, rest };
  } catch {
    return { type: 'other', epoch, bytes };
  }
}
