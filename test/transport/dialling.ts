// Limits and short waits shared by the transport tests.
import type { Duplex } from 'node:stream';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { Failure } from '../../daemon/base/failure.ts';
import type { Dialling } from '../../daemon/transport/dialling.ts';

export function within(ms: number, signal: AbortSignal = new AbortController().signal): Dialling {
  return { deadline: new Deadline(ms), signal };
}

/** The failure with which `work` rejects. */
export async function failureOf(work: Promise<unknown>): Promise<Failure> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it succeeded');
}

/** All bytes up to the peer's end. */
export function readAll(stream: Duplex): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => {
      resolve(Buffer.concat(chunks));
    });
    stream.once('close', () => {
      reject(new Error('the stream was cut'));
    });
  });
}

/** Exactly `length` bytes; the stream stays open and paused. */
export function readBytes(stream: Duplex, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let got = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      got = Buffer.concat([got, chunk]);
      if (got.length < length) return;
      stop();
      stream.pause();
      resolve(got);
    };
    const onEnd = (): void => {
      stop();
      reject(new Error(`the stream ended after ${String(got.length)} of ${String(length)} bytes`));
    };
    const stop = (): void => {
      stream.removeListener('data', onData);
      stream.removeListener('end', onEnd);
      stream.removeListener('close', onEnd);
    };
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('close', onEnd);
  });
}
