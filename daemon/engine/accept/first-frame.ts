// The first frame of a client at a target socket: a Hello of either epoch, or something else that a server must judge.
import type { Socket } from 'node:net';
import { onSilence } from '../../base/async/deadline.ts';
import { startReading, stopReading } from '../../sockets/accepted-socket.ts';
import { FrameReader } from '../../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest, type Contract } from '../../bmux-ipc/ipc.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';

/** What the client began with. */
export type FirstFrame =
  | {
      readonly type: 'hello';
      readonly epoch: Epoch;
      readonly requestId: bigint;
      readonly contract: Contract;
      readonly clientName: string;
      readonly principalId: string;
      /** What came after the Hello. */
      readonly rest: Buffer;
    }
  /** Whole frames or not, of an epoch that we know or not: everything that was read. */
  | { readonly type: 'other'; readonly epoch: Epoch | undefined; readonly bytes: Buffer }
  | { readonly type: 'gone' };

/**
 * Reads it, within the time that a real server gives (5 s, docs/bmux-protocol.md, "Handshake limit"). The socket does not read any more
 * then (`startReading`), nothing unread is lost; an error of it
 * that comes before its next owner listens does not end the process. Never rejects.
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
        // Too long or no frame at all: a server would wait or close, and so do we (docs/bmux-protocol.md, "Framing").
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
    // Not only paused: an end that is read meanwhile would be told to nobody. And not before now: in the turn after a chunk a stream
    // reads on for its buffer, paused or not.
    stopReading(socket);
    return first;
  });
}

function ignore(): void {
  // 'close' follows it.
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
    // A contract of another epoch than its envelope: only the server words that refusal right.
    if (contract.epoch !== epoch) return { type: 'other', epoch, bytes };
    return { type: 'hello', epoch, requestId: envelope.requestId, contract, clientName, principalId, rest };
  } catch {
    return { type: 'other', epoch, bytes };
  }
}
